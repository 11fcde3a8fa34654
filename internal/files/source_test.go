package files

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"surecut/internal/rdb/fixtures"
)

// cmd writes words as a server does.
func cmd(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func fixtureRDB(t *testing.T) string {
	t.Helper()
	for _, f := range fixtures.All(t) {
		if f.Number >= 80000 {
			return string(f.DumpRDB)
		}
	}
	t.Fatal("no fixture of 8.0")
	return ""
}

func TestLocate(t *testing.T) {
	dir := t.TempDir()
	manifest := "file appendonly.aof.1.base.aof seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
	write(t, dir, "new/appendonlydir/appendonly.aof.manifest", manifest)
	write(t, dir, "new/appendonlydir/appendonly.aof.1.base.aof", "")
	write(t, dir, "new/appendonlydir/appendonly.aof.1.incr.aof", cmd("SET", "a", "1"))
	write(t, dir, "old/appendonly.aof", cmd("SET", "a", "1"))
	write(t, dir, "two/a.manifest", manifest)
	write(t, dir, "two/b.manifest", manifest)
	write(t, dir, "lost/appendonly.aof.manifest", manifest)
	write(t, dir, "none/x", "")
	for _, c := range []struct {
		path, why string
		parts     int
		err       string
	}{
		{"new/appendonlydir", "the directory", 2, ""},
		{"new/appendonly.aof", "the name that appendfilename says", 2, ""},
		{"new/appendonlydir/appendonly.aof.manifest", "the manifest", 2, ""},
		{"new/appendonlydir/appendonly.aof.1.incr.aof", "a part alone is not the data", 0, "name the directory"},
		{"old/appendonly.aof", "one file, before 7.0", 1, ""},
		{"two", "which of them", 0, "contains 2 manifests"},
		{"none", "no AOF", 0, "contains no manifest"},
		{"lost", "the manifest names what is not there", 0, "no such file"},
		{"nowhere", "", 0, "no such file"},
	} {
		t.Run(c.path, func(t *testing.T) {
			s, err := OpenAOF(filepath.Join(dir, c.path))
			switch {
			case c.err == "" && err != nil, c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("error %v, want %q: %s", err, c.err, c.why)
			case err == nil && len(s.Parts) != c.parts:
				t.Errorf("%d parts, want %d", len(s.Parts), c.parts)
			}
		})
	}
}

// TestInspect is the table of damage: what is found, refused or dropped.
func TestInspect(t *testing.T) {
	image := fixtureRDB(t)
	set, multi, exec := cmd("SET", "a", "1"), cmd("MULTI"), cmd("EXEC")
	for _, c := range []struct {
		name, why string
		parts     []string
		commands  int64
		cut       int // bytes; 0: none
		err       string
	}{
		{"commands", "", []string{set + set}, 2, 0, ""},
		{"empty", "a server that has written nothing", []string{""}, 0, 0, ""},
		{"RDB and commands", "what 4.0 to 6.2 write", []string{image + set}, 1, 0, ""},
		{"RDB alone", "the base of 7.0", []string{image, ""}, 0, 0, ""},
		{"annotations", "aof-timestamp-enabled", []string{"#TS:1700000000\r\n" + set + "#TS:1700000001\r\n"}, 1, 0, ""},
		{"cut in a command", "a crash", []string{set + set[:len(set)-3]}, 1, len(set) - 3, ""},
		{"cut in a header", "a crash", []string{set + "*3\r\n$"}, 1, 5, ""},
		{"cut in a transaction", "EXEC is missing: a server drops all of it", []string{set + multi + set}, 3, len(multi + set), ""},
		{"cut after EXEC's header", "the same", []string{multi + set + exec[:5]}, 2, len(multi+set) + 5, ""},
		{"transaction", "", []string{multi + set + exec}, 3, 0, ""},
		{"cut before the last part", "no server loads that", []string{set[:9], set}, 0, 0, "and other files of this AOF follow"},
		{"transaction over two parts", "each part stands for itself", []string{multi + set, set + exec}, 0, 0, "and other files of this AOF follow"},
		{"zeros at the end", "a file system after a power failure", []string{set + "\x00\x00\x00\x00"}, 0, 0, fmt.Sprintf("damaged at byte %d", len(set))},
		{"inline command", "no AOF holds one", []string{"SET a 1\r\n"}, 0, 0, "damaged at byte 0"},
		{"wrong length", "", []string{set + "*1\r\n$4\r\nPINGS\r\n"}, 0, 0, "damaged at byte"},
		{"damaged RDB", "its checksum", []string{image[:len(image)-4] + "xxxx" + set}, 0, 0, "checksum"},
		{"cut RDB", "", []string{image[:len(image)/2]}, 0, 0, "unexpected EOF"},
		{"no database", "", []string{cmd("SELECT", "x")}, 0, 0, "names no database"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, manifest := t.TempDir(), ""
			for i, part := range c.parts {
				name := fmt.Sprintf("a.aof.%d", i+1)
				write(t, dir, name, part)
				manifest += fmt.Sprintf("file %s seq %d type %s\n", name, i+1, map[bool]string{true: "b", false: "i"}[i == 0])
			}
			s, err := OpenAOF(write(t, dir, "a.aof.manifest", manifest))
			if err != nil {
				t.Fatal(err)
			}
			f, err := s.Inspect(t.Context(), 1<<20)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), dir) {
					t.Fatalf("error %v, want one with the file and %q: %s", err, c.err, c.why)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			cut := 0
			if f.Cut != nil {
				cut = int(f.Cut.Bytes)
				if end := int(f.Cut.At) + cut; end != len(c.parts[len(c.parts)-1]) {
					t.Errorf("the cut ends at byte %d", end)
				}
			}
			if f.Commands != c.commands || cut != c.cut {
				t.Errorf("%d commands, %d bytes cut; want %d, %d: %s", f.Commands, cut, c.commands, c.cut, c.why)
			}
			if strings.HasPrefix(c.parts[0], "REDIS") != (f.RDBVersion > 0 && f.Keys > 0 && f.Server != "") {
				t.Errorf("facts of the RDB: %+v", f)
			}
		})
	}
}

// TestModules: the target needs the modules of large values as those of small ones.
func TestModules(t *testing.T) {
	value := func(key, id string, n int) string { // one string of a module: its ID, and what it holds
		head := []byte{5, 0x80, 0, byte(n >> 16), byte(n >> 8), byte(n)}
		return "\x07\x01" + key + "\x81" + id + string(head) + strings.Repeat("x", n) + "\x00"
	}
	s, err := OpenRDB(write(t, t.TempDir(), "dump.rdb", "REDIS0004"+value("a", "\x00\x00\x00\x00\x00\x00\x04\x01", 10)+value("b", "\x04\x00\x00\x00\x00\x00\x00\x01", 200<<10)+"\xff"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.Inspect(t.Context(), 1000)
	if err != nil || fmt.Sprint(f.Modules) != "[AAAAAAAAB BAAAAAAAA]" || len(f.Big) != 1 {
		t.Errorf("modules %v, %d big values, %v", f.Modules, len(f.Big), err)
	}
}

func TestRelative(t *testing.T) {
	s, err := OpenAOF(write(t, t.TempDir(), "a.aof", cmd("SETEX", "a", "10", "1")+cmd("PEXPIREAT", "a", "1")+cmd("SET", "a", "1", "EX", "5")+
		cmd("SET", "a", "1", "PXAT", "5")+cmd("EXPIRE", "a", "10")+cmd("SET", "a", "1")+cmd("RESTORE", "b", "10", "x")))
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.Inspect(t.Context(), 1<<20)
	if err != nil || f.Relative != 4 {
		t.Errorf("%+v, %v; want 4 relative", f, err)
	}
}

func TestRDBWithCommandsBehind(t *testing.T) {
	s, err := OpenRDB(write(t, t.TempDir(), "dump.rdb", fixtureRDB(t)+cmd("SET", "a", "1")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Inspect(t.Context(), 1<<20); err == nil || !strings.Contains(err.Error(), "name it as aof:") {
		t.Errorf("error %v", err)
	}
}

// TestCommandsAcrossParts follows a source by its byte numbers.
func TestCommandsAcrossParts(t *testing.T) {
	dir := t.TempDir()
	first, second := cmd("SET", "a", "1"), cmd("SET", "b", "2")
	write(t, dir, "1", first)
	write(t, dir, "2", "")
	write(t, dir, "3", second)
	s, err := OpenAOF(write(t, dir, "m.manifest", "file 1 seq 1 type b\nfile 2 seq 1 type i\nfile 3 seq 2 type i\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	offset := int64(0)
	for {
		c, end, fresh, err := s.Commands(offset)
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			break
		}
		args, _, err := c.ReadCommand()
		if err != nil || !fresh {
			t.Fatalf("fresh %v: %v", fresh, err)
		}
		fmt.Fprintf(&got, "%s@%d ", args[1], offset)
		offset = end
		c.Close()
	}
	if want := fmt.Sprintf("a@0 b@%d ", len(first)); got.String() != want || offset != s.Size() {
		t.Errorf("got %q, want %q", got.String(), want)
	}
	if path, at := s.Where(int64(len(first)) + 3); filepath.Base(path) != "3" || at != 3 {
		t.Errorf("byte 3 of the third part is %s, %d", path, at)
	}
}

func TestFingerprint(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "a.aof", strings.Repeat("x", 300<<10))
	prints := map[string]string{}
	note := func(what string) {
		t.Helper()
		s, err := OpenAOF(path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		for other, q := range prints {
			if p == q {
				t.Errorf("%s and %s have one fingerprint", what, other)
			}
		}
		prints[what] = p
	}
	note("the file")
	write(t, dir, "a.aof", "y"+strings.Repeat("x", 300<<10-1))
	note("another beginning")
	write(t, dir, "a.aof", strings.Repeat("x", 300<<10-1)+"y")
	note("another end")
	write(t, dir, "a.aof", strings.Repeat("x", 300<<10+1))
	note("another length")
}

func TestExpand(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.rdb", "b.rdb", "c,d.rdb"} {
		write(t, dir, name, "")
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, c := range []struct {
		path string
		want int
		err  string
	}{
		{at("a.rdb") + "," + at("b.rdb"), 2, ""},
		{at("?.rdb"), 2, ""},
		{at("*.rdb"), 3, ""},
		{at("a.rdb") + "," + at("?.rdb"), 0, "named twice"},
		{at("*.aof"), 0, "matches no file"},
		{at("a.rdb") + ",", 0, "empty name"},
		{at("missing"), 1, ""}, // opening it says so
	} {
		got, err := Expand(c.path)
		if len(got) != c.want && err == nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) || c.err == "" && err != nil {
			t.Errorf("%s: %v, %v", c.path, got, err)
		}
	}
	if _, err := OpenRDB(at("missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
