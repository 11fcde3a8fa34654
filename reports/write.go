package reports

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"surecut/internal/durable"
)

// formats are the formats that Render knows for every kind of report.
var formats = []string{"table", "json", "markdown", "junit", "html"}

// CSV is an additional format for bigkeys reports.
const CSV = "csv"

// CheckFormat returns an error unless Render knows the format for every kind of report.
func CheckFormat(format string) error {
	for _, f := range formats {
		if f == format {
			return nil
		}
	}
	return fmt.Errorf("unknown format %q; choose %s", format, strings.Join(formats, ", "))
}

// Render writes the report in one format: table, json, markdown, junit, html, or csv for a bigkeys report.
func Render(w io.Writer, r Report, format string) error {
	data, err := renderBytes(r, format)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("write %s report: %w", r.Kind(), err)
	}
	return nil
}

func renderBytes(r Report, format string) ([]byte, error) {
	switch format {
	case "table":
		return renderTable(r)
	case "json":
		return encode(r)
	case "markdown":
		return renderMarkdown(r), nil
	case "junit":
		return renderJUnit(r)
	case "html":
		return renderHTML(r)
	case CSV:
		return renderCSV(r)
	}
	return nil, CheckFormat(format)
}

// Write puts the report into the directory, which it creates if necessary: <kind>.html, <kind>.md, <kind>.xml (JUnit), <kind>.json,
// and also bigkeys.csv for a bigkeys report. All files are rendered and on disk under temporary names before the first one is
// replaced, so an error until then leaves the old files. The JSON file, which the gate reads, is put in place last. Write returns
// the paths, with JSON first.
func Write(dir string, r Report) ([]string, error) {
	forms := []string{"json", "html", "markdown", "junit"}
	if r.Kind() == KindBigKeys {
		forms = append(forms, CSV)
	}
	return WriteFormats(dir, r, forms...)
}

// WriteFormats is Write for some of the formats.
func WriteFormats(dir string, r Report, forms ...string) (paths []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory for reports: %w; choose a directory for --out that can be written", err)
	}
	temps := make([]string, 0, len(forms))
	defer func() {
		for _, t := range temps {
			if removeErr := os.Remove(t); removeErr != nil && !errors.Is(removeErr, os.ErrNotExist) {
				err = errors.Join(err, fmt.Errorf("remove temporary report: %w", removeErr))
			}
		}
	}()
	for _, form := range forms {
		path := filepath.Join(dir, r.Kind()+extensions[form])
		if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file, so the report cannot replace it; remove it, or choose another directory for --out", path)
		}
		data, err := renderBytes(r, form)
		if err != nil {
			return nil, err
		}
		temp, err := writeTemp(path, data)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w; choose a directory for --out that can be written", path, err)
		}
		temps, paths = append(temps, temp), append(paths, path)
	}
	for i := len(paths) - 1; i >= 0; i-- {
		if err := os.Rename(temps[i], paths[i]); err != nil {
			return nil, fmt.Errorf("put report in place: %w", err)
		}
	}
	if err := durable.SyncDir(dir); err != nil {
		return nil, err
	}
	return paths, nil
}

var extensions = map[string]string{"json": ".json", "html": ".html", "markdown": ".md", "junit": ".xml", "table": ".txt", CSV: ".csv"}

// writeTemp writes the data into a hidden file next to path, and syncs it.
func writeTemp(path string, data []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, bytes.NewReader(data))
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// FileOf returns the kind and the format (as an extension) of the report that a file with this name holds. It returns false if no
// surecut report has that name.
func FileOf(name string) (kind, extension string, ok bool) {
	extension = filepath.Ext(name)
	kind = strings.TrimSuffix(name, extension)
	for _, e := range extensions {
		if e == extension && empty(kind) != nil {
			return kind, extension, true
		}
	}
	return "", "", false
}

// IsTemporary says whether a name is that of a file that WriteFormats had not yet put in place.
func IsTemporary(name string) bool {
	name, ok := strings.CutSuffix(name, ".tmp")
	if !ok || !strings.HasPrefix(name, ".") {
		return false
	}
	_, _, ok = FileOf(strings.TrimPrefix(strings.TrimSuffix(name, filepath.Ext(name)), "."))
	return ok
}
