package verifier

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"surecut/internal/endpoint/endpointtest"
)

// TestRepliesOfAnotherShape goes through every command by which a key is read, and has the server answer it once by a reply that no
// server gives: a number for a list, a list of lists for texts. The reading then is the value all the same, where the command only helps, or
// has an error. A value that is made up of such a reply would differ from the other side's, or agree with it by luck.
func TestRepliesOfAnotherShape(t *testing.T) {
	shapes := map[string]string{"a number": ":-7\r\n", "a list of pairs": "*2\r\n*2\r\n:1\r\n:2\r\n*2\r\n:3\r\n:4\r\n"}
	helps := []string{"MEMORY", "INFO", "CLIENT", "OBJECT", "TIME"}                            // without what they tell, a key is read in another way
	counts := []string{"STRLEN", "LLEN", "SCARD", "ZCARD", "HLEN", "XLEN"}                     // for which a number is no other shape
	refused := map[string]int{"TYPE": 0, "GETRANGE": 0, "LRANGE": 0, "HGETALL": 0, "XINFO": 0} // how often these led to an error
	var g errgroup.Group
	g.SetLimit(16)
	errors := make(chan string, 4096)
	for _, version := range []string{"2.8.24", "5.0.14", "7.4.1"} {
		for name, v := range kindsTold(version) {
			s := endpointtest.Serve(t, version)
			s.Put("k", v)
			r := toldReader(t, s, toldConfig(t))
			before := len(s.Calls(""))
			if got, err := readOne(t, r, "k"); err != nil || got.Err != nil {
				t.Fatal(version, name, got.Err, err)
			}
			commands := shortened(s.Calls("")[before:])
			g.Go(func() error {
				for _, words := range commands {
					command, _, _ := strings.Cut(words, " ")
					for shape, reply := range shapes {
						s.Once(words, reply)
						got, err := readOne(t, r, "k")
						at := version + ", " + name + ", " + shape + " in reply to " + words
						switch failed := err != nil || got.Err != nil; {
						case failed && slices.Contains(helps, command) && command != "TIME":
							t.Errorf("%s: the key was not read: %v, %v", at, got.Err, err)
						case failed:
							errors <- command
						case got.FP != fingerprintOf(v):
							if !slices.Contains(counts, command) || got.present() {
								t.Errorf("%s: read as %+v", at, got)
							}
						}
					}
				}
				return nil
			})
		}
	}
	_ = g.Wait()
	close(errors)
	for command := range errors {
		if _, ok := refused[command]; ok {
			refused[command]++
		}
	}
	for command, n := range refused {
		if n == 0 {
			t.Errorf("no reply of another shape to %s was noticed", command)
		}
	}
}
