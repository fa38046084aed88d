package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/starling-db/starling/client"
)

// output is the value of --output.
type output string

const (
	outputTable output = "table"
	outputJSON  output = "json"
	outputRaw   output = "raw"
)

// String returns the format; the zero output is the table.
func (o *output) String() string {
	if *o == "" {
		return string(outputTable)
	}
	return string(*o)
}

// Type names the flag's value in help texts.
func (o *output) Type() string { return "format" }

// Set parses the flag.
func (o *output) Set(s string) error {
	switch output(s) {
	case outputTable, outputJSON, outputRaw:
		*o = output(s)
		return nil
	}
	return fmt.Errorf("want table, json or raw")
}

// text is bytes in JSON: a string where they are valid UTF-8, base64 under another name where not.
// Exactly one of the two is set.
type text struct {
	utf8, base64 *string
}

func newText(b []byte) text {
	if utf8.Valid(b) {
		s := string(b)
		return text{utf8: &s}
	}
	s := base64.StdEncoding.EncodeToString(b)
	return text{base64: &s}
}

// jsonVersion is one version of an item.
type jsonVersion struct {
	Value       *string `json:"value,omitempty"`
	ValueBase64 *string `json:"value_base64,omitempty"`
	Tombstone   bool    `json:"tombstone,omitempty"`
	Time        string  `json:"time"`
	// Actor, HLC: the dot, 16 hex digits each, because JSON numbers of 64 bits get rounded.
	Actor     string `json:"actor"`
	HLC       string `json:"hlc"`
	RequestID string `json:"request_id,omitempty"`
	Expires   string `json:"expires,omitempty"`
}

// jsonItem is one item of a get, a query, a scan or an export.
type jsonItem struct {
	Bucket      string        `json:"bucket"`
	Partition   *string       `json:"partition_key,omitempty"`
	Partition64 *string       `json:"partition_key_base64,omitempty"`
	Sort        *string       `json:"sort_key,omitempty"`
	Sort64      *string       `json:"sort_key_base64,omitempty"`
	Found       *bool         `json:"found,omitempty"`
	Siblings    bool          `json:"siblings"`
	Versions    []jsonVersion `json:"versions"`
	Context     string        `json:"context,omitempty"`
	Answered    *int          `json:"answered,omitempty"`
	Fallbacks   *int          `json:"fallbacks,omitempty"`
	Explain     *jsonExplain  `json:"explain,omitempty"`
}

func newJSONItem(bucket string, key client.Key, versions []client.Version, context client.Context, values bool) jsonItem {
	partition, sort := newText(key.Partition), newText(key.Sort)
	item := jsonItem{
		Bucket: bucket, Partition: partition.utf8, Partition64: partition.base64,
		Sort: sort.utf8, Sort64: sort.base64,
		Siblings: len(versions) > 1, Versions: make([]jsonVersion, len(versions)),
	}
	if !context.IsZero() {
		item.Context = context.String()
	}
	for i, v := range versions {
		item.Versions[i] = jsonVersion{
			Tombstone: v.Tombstone, Time: rfc3339(v.Time()),
			Actor: hex(uint64(v.Dot.Actor)), HLC: hex(uint64(v.Dot.HLC)),
			Expires: expiryText(v.Expires),
		}
		if !v.RequestID.IsZero() {
			item.Versions[i].RequestID = v.RequestID.String()
		}
		if !v.Tombstone && values {
			value := newText(v.Value)
			item.Versions[i].Value, item.Versions[i].ValueBase64 = value.utf8, value.base64
		}
	}
	return item
}

// writeJSON writes one value on a line of its own.
func (a *app) writeJSON(v any) error {
	encoder := json.NewEncoder(a.stdout)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// writeRaw writes a value alone on its line.
func (a *app) writeRaw(value []byte) error {
	if _, err := a.stdout.Write(value); err != nil {
		return err
	}
	return a.stdout.WriteByte('\n')
}

// printable returns bytes as a terminal may show them: as they are when that is harmless, else
// quoted as in Go.
func printable(b []byte) string {
	if !utf8.Valid(b) {
		return strconv.Quote(string(b))
	}
	for _, r := range string(b) {
		if !unicode.IsPrint(r) && r != '\t' {
			return strconv.Quote(string(b))
		}
	}
	return string(b)
}

// rfc3339 is a time in JSON and in tables: UTC, to the millisecond.
func rfc3339(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

func hex(v uint64) string { return fmt.Sprintf("%016x", v) }

// bytesText is a size for people.
func bytesText(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return strconv.FormatUint(n, 10) + " B"
	}
	f, unit := float64(n)/1024, 0
	for f >= 1024 && unit < len(units)-1 {
		f /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", f, units[unit])
}

// counted is a number of things for people.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// ageText is a duration for people; nothing for none.
func ageText(d time.Duration) string {
	switch {
	case d <= 0:
		return ""
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
