package stream

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func shaOf(text string) []byte { return fmt.Appendf(nil, "%x", sha1.Sum([]byte(text))) }

func TestScripts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scripts")
	open := func() *Scripts {
		t.Helper()
		s, err := OpenScripts(path)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	for _, text := range []string{"return 1", "return 2", "", "return 1"} {
		if err := s.Add(text); err != nil {
			t.Fatal(err)
		}
	}
	if got, ok := s.text(bytes.ToUpper(shaOf("return 2"))); !ok || got != "return 2" {
		t.Errorf("%q %v", got, ok)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open()
	if got, ok := s.text(shaOf("return 1")); !ok || got != "return 1" || len(s.order) != 3 {
		t.Errorf("after opening again: %q %v, %d scripts", got, ok, len(s.order))
	}
	for _, digits := range []string{"", "00", strings.Repeat("x", 40), strings.Repeat("0", 40)} {
		if _, ok := s.text([]byte(digits)); ok {
			t.Errorf("%q is a script", digits)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// a crash cut the last record off, or left garbage in it
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{"cut": whole[:len(whole)-3], "garbage": append(bytes.Clone(whole[:len(whole)-3]), "xyz"...),
		"length": append(bytes.Clone(whole), 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f)} {
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		s = open()
		if _, ok := s.text(shaOf("return 2")); !ok {
			t.Errorf("%s: a whole record before the damage is lost", name)
		}
		if err := s.Add("return 3"); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open()
		if _, ok := s.text(shaOf("return 3")); !ok {
			t.Errorf("%s: what was added behind the damage is lost", name)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// The oldest scripts go, and the file does not grow for ever.
func TestScriptsAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scripts")
	s, err := OpenScripts(path)
	if err != nil {
		t.Fatal(err)
	}
	s.most = 1 << 20
	text := func(i int) string { return fmt.Sprintf("%d%s", i, strings.Repeat("-", 100_000)) }
	for i := range 100 {
		if err := s.Add(text(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Add(strings.Repeat("x", s.most+1)); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.text(shaOf(text(0))); ok || s.bytes > s.most {
		t.Errorf("%d bytes are kept, the oldest: %v", s.bytes, ok)
	}
	if _, ok := s.text(shaOf(text(99))); !ok {
		t.Error("the newest is gone")
	}
	if st, err := os.Stat(path); err != nil || st.Size() > 4<<20 {
		t.Errorf("the file has %d bytes, %v", st.Size(), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenScripts(path); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.text(shaOf(text(99))); !ok {
		t.Error("the newest is not in the file")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func FuzzReadScript(f *testing.F) {
	f.Add(appendScript(nil, "return 1"))
	f.Add(appendScript(nil, ""))
	f.Add([]byte{0xff, 0xff, 0xff, 0x1f})
	f.Fuzz(func(t *testing.T, p []byte) {
		text, err := readScript(bufio.NewReader(bytes.NewReader(p)))
		if err != nil {
			return
		}
		if again, err := readScript(bufio.NewReader(bytes.NewReader(appendScript(nil, text)))); err != nil || again != text {
			t.Fatalf("%q became %q, %v", text, again, err)
		}
	})
}
