package endpoint

import "testing"

// TestCodeOfNoError: writers ask for the code of each reply, and nearly none of them is an error.
func TestCodeOfNoError(t *testing.T) {
	var err error
	if n := testing.AllocsPerRun(100, func() { _ = Code(err) }); n > 0 || Code(err) != "" {
		t.Errorf("the code of no error is %q, by %v allocations", Code(err), n)
	}
}
