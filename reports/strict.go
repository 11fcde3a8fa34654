package reports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// parseStrict reads one complete JSON document. encoding/json alone accepts an object with the same key twice, and keeps the last
// value, so two readers of one report could see two different verdicts. Keys that differ only in case are refused by matchFields as
// unknown fields.
func parseStrict(data []byte) (tree any, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		return nil, fmt.Errorf("not a complete JSON document (%w); make the report again, because a truncated file proves nothing", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("has more data after its end at byte %d; make the report again", d.InputOffset())
	}
	d = json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := refuseTwins(d, ""); err != nil {
		return nil, err
	}
	return tree, nil
}

// refuseTwins reads one value of a document that is known to be complete, and returns an error for the first key that an object
// holds twice.
func refuseTwins(d *json.Decoder, at string) error {
	token, err := d.Token()
	if err != nil {
		return fmt.Errorf("not a complete JSON document (%w)", err)
	}
	switch token {
	case json.Delim('{'):
		seen := map[string]bool{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return fmt.Errorf("not a complete JSON document (%w)", err)
			}
			field := fmt.Sprint(key)
			if seen[field] {
				return fmt.Errorf("%s contains %q twice, which is ambiguous; make the report again", name(at), field)
			}
			seen[field] = true
			if err := refuseTwins(d, strings.TrimPrefix(at+"."+field, ".")); err != nil {
				return err
			}
		}
	case json.Delim('['):
		for i := 0; d.More(); i++ {
			if err := refuseTwins(d, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = d.Token() // Token reads the end of the object or list.
	return err
}
