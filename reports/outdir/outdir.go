package outdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"surecut/internal/durable"
	"surecut/reports"
)

// ErrGo says that a directory holds the record of a GO, which no later run may replace.
var ErrGo = errors.New("its gate.json says GO, which makes it the record of a cutover; choose another directory for --out")

// ErrBusy says that another run is writing into the directory.
var ErrBusy = errors.New("another surecut is writing into it; wait until that has ended, or choose another directory for --out")

// Earlier is the name of the subdirectory into which reports of earlier runs are moved.
const Earlier = "earlier"

// Dir is a directory that belongs to one run until it is closed.
type Dir struct {
	path  string
	lock  *lock
	moved string // where the reports of earlier runs were moved; "" if there were none
}

// Take reserves the directory for the run, and creates it if necessary. It moves reports of the kinds away, those of a gate first,
// so that no GO is left even if a later step fails.
func Take(path string, kinds ...string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	l, err := acquire(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	d := &Dir{path: path, lock: l}
	if err := d.clear(kinds); err != nil {
		l.release()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

// Moved returns where reports of earlier runs were moved, or "" if there were none.
func (d *Dir) Moved() string { return d.moved }

// Has says whether the run has written its report of the kind.
func (d *Dir) Has(kind string) bool {
	_, err := os.Lstat(filepath.Join(d.path, kind+".json"))
	return err == nil
}

// Close lets other runs take the directory.
func (d *Dir) Close() { d.lock.release() }

func (d *Dir) clear(kinds []string) error {
	if HoldsGo(d.path) {
		return ErrGo
	}
	names, err := d.ownFiles(kinds)
	if err != nil {
		return err
	}
	if err := d.moveAway(names); err != nil {
		return err
	}
	return d.canWrite()
}

// saysGo says whether a file is a gate report with the verdict GO. It reads only the verdict, so that a GO by another version of
// surecut counts too.
func saysGo(path string) bool {
	data, err := os.ReadFile(path)
	var gate struct {
		Verdict string `json:"verdict"`
	}
	return err == nil && json.Unmarshal(data, &gate) == nil && gate.Verdict == reports.Go
}

// ownFiles lists the report files of the kinds: those of a gate first, and JSON files, which a gate reads, before the others. It
// also removes temporary files of a run that was killed while it wrote its report.
func (d *Dir) ownFiles(kinds []string) ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		kind, _, ok := reports.FileOf(e.Name())
		switch {
		case reports.IsTemporary(e.Name()) && e.Type().IsRegular():
			if err := os.Remove(filepath.Join(d.path, e.Name())); err != nil {
				return nil, err
			}
		case !ok || !slices.Contains(kinds, kind):
		case !e.Type().IsRegular():
			return nil, fmt.Errorf("%s is not a regular file, so the report cannot replace it; remove it, or choose another directory for --out", e.Name())
		default:
			names = append(names, e.Name())
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	return names, nil
}

func rank(name string) int {
	kind, extension, _ := reports.FileOf(name)
	n := 0
	if kind != reports.KindGate {
		n += 2
	}
	if extension != ".json" {
		n++
	}
	return n
}

// moveAway moves files into a new directory below earlier/. If that directory cannot be created, for example on a full disk, the
// files stay next to the new reports, with names that nothing takes for reports.
func (d *Dir) moveAway(names []string) error {
	if len(names) == 0 {
		return nil
	}
	stamp := time.Now().UTC().Format("20060102T150405Z")
	into, err := newDir(filepath.Join(d.path, Earlier), stamp)
	for _, name := range names {
		to := filepath.Join(into, name)
		if err != nil {
			to = filepath.Join(d.path, name+"."+Earlier+"-"+stamp)
		}
		if err := os.Rename(filepath.Join(d.path, name), to); err != nil {
			return fmt.Errorf("move an earlier report away: %w", err)
		}
	}
	if d.moved = into; err != nil {
		d.moved = filepath.Join(d.path, "*."+Earlier+"-"+stamp)
	}
	return durable.SyncDir(d.path)
}

// newDir creates a directory with a name that did not exist before.
func newDir(parent, name string) (string, error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	for n := 1; ; n++ {
		path := filepath.Join(parent, name)
		if n > 1 {
			path += fmt.Sprintf("-%d", n)
		}
		if err := os.Mkdir(path, 0o755); !errors.Is(err, os.ErrExist) {
			return path, err
		}
	}
}

// canWrite checks before the work begins that there is room for reports.
func (d *Dir) canWrite() error {
	f, err := os.CreateTemp(d.path, ".surecut-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.Repeat("surecut\n", 8<<10)) // 64 KiB, about the size of the files of a small report
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

// HoldsGo says whether the directory holds the record of a GO.
func HoldsGo(path string) bool { return saysGo(filepath.Join(path, reports.KindGate+".json")) }

// Followed returns the new path of a file of the directory that was moved away, or false if it was not moved.
func (d *Dir) Followed(file string) (string, bool) {
	if _, err := os.Lstat(file); d.moved == "" || !errors.Is(err, os.ErrNotExist) || !sameDir(filepath.Dir(file), d.path) {
		return "", false
	}
	moved := filepath.Join(d.moved, filepath.Base(file))
	if strings.Contains(filepath.Base(d.moved), "*") {
		moved = filepath.Join(d.path, strings.Replace(filepath.Base(d.moved), "*", filepath.Base(file), 1))
	}
	_, err := os.Lstat(moved)
	return moved, err == nil
}

func sameDir(a, b string) bool {
	one, err1 := os.Stat(a)
	two, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(one, two)
}
