package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/starling-db/starling/client"
)

// progressSteps are the steps of a bar that shows a share.
const progressSteps = 1000

// exporter writes the pages of a scan.
type exporter struct {
	app   *app
	flags *exportFlags
	out   *exportOutput
	bar   *progress
	began time.Time
	saved time.Time
}

// run writes all pages. The position is saved between pages only: a page is written whole, or again.
func (e *exporter) run(pages iter.Seq2[client.Page, error]) error {
	for page, err := range pages {
		if err != nil {
			return err
		}
		for n := range page.Items {
			if err := e.item(&page.Items[n]); err != nil {
				return err
			}
		}
		e.out.state.Resume, e.out.state.Offset = page.Resume, e.out.written
		e.bar.set(int64(page.Progress*progressSteps), e.out.state.Records)
		if time.Since(e.saved) >= saveEvery {
			e.saved = time.Now()
			if err := e.out.save(); err != nil {
				return err
			}
		}
	}
	return nil
}

// item writes one item.
func (e *exporter) item(item *client.Item) error {
	versions := item.Versions
	if item.Siblings() {
		switch e.flags.siblings {
		case siblingsError:
			e.leaveOut(item)
			return nil
		case siblingsLatest:
			versions = latest(versions)
		}
	}
	if e.app.output == outputJSON {
		e.out.state.Records++
		encoder := json.NewEncoder(e.out)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(newJSONItem(e.flags.call.bucket, item.Key, versions, item.Context, true))
	}
	for _, v := range versions {
		if v.Tombstone {
			continue
		}
		if bytes.IndexByte(v.Value, '\n') >= 0 {
			return fmt.Errorf("the value of %s holds a newline, so it can't be one line: -o json can write it", item.Key)
		}
		e.out.state.Records++
		if _, err := e.out.Write(v.Value); err != nil {
			return err
		}
		if _, err := e.out.Write([]byte{'\n'}); err != nil {
			return err
		}
	}
	return nil
}

// latest is the live version that was written last.
func latest(versions []client.Version) []client.Version {
	for i := len(versions) - 1; i >= 0; i-- {
		if !versions[i].Tombstone {
			return versions[i : i+1]
		}
	}
	return nil
}

func (e *exporter) leaveOut(item *client.Item) {
	e.out.state.LeftOut++
	if e.out.state.LeftOut <= shownFailures {
		e.bar.note("%s has %d siblings", item.Key, len(item.Versions))
	}
}
