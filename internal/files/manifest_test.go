package files

import (
	"strings"
	"testing"
)

func TestManifest(t *testing.T) {
	const base, incr = "file a.aof.1.base.rdb seq 1 type b\n", "file a.aof.1.incr.aof seq 1 type i\n"
	for _, c := range []struct {
		name, why, text string
		want            string // names, or the error
	}{
		{"base and increment", "what 7.0 writes", base + incr, "a.aof.1.base.rdb a.aof.1.incr.aof"},
		{"increment first", "the base is loaded first wherever it stands", incr + base, "a.aof.1.base.rdb a.aof.1.incr.aof"},
		{"history", "what a rewrite has replaced is not loaded", "file old seq 1 type h\n" + base, "a.aof.1.base.rdb"},
		{"increments only", "a server that was started with AOF on and is empty", incr, "a.aof.1.incr.aof"},
		{"two increments", "a rewrite has failed", base + incr + "file a.aof.2.incr.aof seq 2 type i\n", "a.aof.1.base.rdb a.aof.1.incr.aof a.aof.2.incr.aof"},
		{"comment", "", "# made by hand\n" + base, "a.aof.1.base.rdb"},
		{"other keys", "8.x adds offsets", "file b seq 1 type i startoffset 12 endoffset 13\n", "b"},
		{"quotes", "a name with a blank and a byte", `file "a b\x21\n" seq 1 type b` + "\n", "a b!\n"},
		{"single quotes", "", `file 'a\'b' seq 1 type b` + "\n", "a'b"},
		{"carriage return", "edited elsewhere", "file b seq 1 type b\r\n", "b"},
		{"empty", "Redis refuses it", "", "the manifest is empty"},
		{"no end", "the copy was cut off", "file b seq 1 type b", "line 1 of the manifest is cut off"},
		{"empty line", "Redis refuses it", base + "\n", "line 2 of the manifest"},
		{"long line", "more than 1024 bytes", strings.Repeat("x", 2000) + "\n", "longer than"},
		{"two bases", "", base + base, "line 2 of the manifest names a second base"},
		{"order", "increments count upwards", "file b seq 2 type i\nfile c seq 1 type i\n", "does not follow"},
		{"path", "a manifest must not lead elsewhere", "file ../b seq 1 type b\n", "not the name of a file"},
		{"root", "the same", "file / seq 1 type i\n", "not the name of a file"},
		{"dots", "the same", "file .. seq 1 type b\n", "not the name of a file"},
		{"number", "", "file b seq x type b\n", "not a sequence number"},
		{"type", "", "file b seq 1 type z\n", "must be b, i or h"},
		{"odd words", "", "file b seq 1 type\n", "does not have the form file NAME"},
		{"lacks seq", "", "file b type b type b\n", "lacks file, seq or type"},
		{"open quote", "", "file \"b seq 1 type b\n", "a closing quote is missing"},
		{"after a quote", "", "file \"b\"c seq 1 type b\n", "a space must follow"},
	} {
		t.Run(c.name, func(t *testing.T) {
			entries, err := parseManifest(strings.NewReader(c.text))
			var names []string
			for _, e := range entries {
				names = append(names, e.name)
			}
			got := strings.Join(names, " ")
			if err != nil {
				got = err.Error()
			}
			if err != nil && !strings.Contains(got, c.want) || err == nil && got != c.want {
				t.Errorf("got %q, want %q: %s", got, c.want, c.why)
			}
		})
	}
}

func FuzzManifest(f *testing.F) {
	f.Add("file a.aof.1.base.rdb seq 1 type b\nfile a.aof.1.incr.aof seq 1 type i\n")
	f.Add("# x\nfile \"a\\x00b\" seq 1 type h startoffset 1\n")
	f.Add("file 'a\\'b' seq 9223372036854775807 type i\n")
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := parseManifest(strings.NewReader(text))
		if err != nil && entries != nil {
			t.Fatal("entries beside an error")
		}
		seq := int64(0)
		for i, e := range entries {
			if e.name == "" || strings.ContainsAny(e.name, "/\x00") || e.name == ".." {
				t.Fatalf("name %q", e.name)
			}
			if e.kind == 'b' && i > 0 || e.kind == 'h' || e.kind == 'i' && e.seq <= seq {
				t.Fatalf("entry %d: %+v after %d", i, e, seq)
			}
			if e.kind == 'i' {
				seq = e.seq
			}
		}
	})
}
