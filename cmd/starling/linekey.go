package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/starling-db/starling/client"
)

// keyFields name the fields of a JSON object that make the key of an item.
type keyFields struct {
	// Partition is required, Sort may be empty: no sort key.
	Partition string `json:"partition_key"`
	Sort      string `json:"sort_key,omitempty"`
}

// key takes the key of an item from its JSON. Strings are taken decoded, numbers and booleans as they
// are written.
func (f keyFields) key(line []byte) (client.Key, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(line, &object); err != nil {
		return client.Key{}, fmt.Errorf("no JSON object: %w", err)
	}
	partition, err := keyField(object, f.Partition)
	if err != nil {
		return client.Key{}, err
	}
	if len(partition) == 0 {
		return client.Key{}, fmt.Errorf("field %q is empty: a partition key can't be", f.Partition)
	}
	key := client.Key{Partition: partition}
	if f.Sort != "" {
		if key.Sort, err = keyField(object, f.Sort); err != nil {
			return client.Key{}, err
		}
	}
	return key, nil
}

func keyField(object map[string]json.RawMessage, name string) ([]byte, error) {
	raw, ok := object[name]
	if !ok {
		return nil, fmt.Errorf("no field %q", name)
	}
	switch raw[0] {
	case '{', '[', 'n':
		return nil, fmt.Errorf("field %q is %s: want a string, a number or a boolean", name, jsonKind(raw[0]))
	case '"':
		s, err := keyString(raw)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", name, err)
		}
		return []byte(s), nil
	}
	return bytes.Clone(raw), nil
}

func jsonKind(first byte) string {
	return map[byte]string{'{': "an object", '[': "an array", 'n': "null"}[first]
}

// keyString decodes a JSON string. What is no Unicode is refused: encoding/json would turn it into
// U+FFFD, and so two keys into one.
func keyString(raw json.RawMessage) (string, error) {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", err
	}
	replaced := strings.Count(s, string(utf8.RuneError))
	written := strings.Count(string(raw), string(utf8.RuneError)) + strings.Count(strings.ToLower(string(raw)), `\ufffd`)
	if !utf8.Valid(raw) || replaced > written {
		return "", errors.New("not valid Unicode")
	}
	return s, nil
}
