package endpoint

import "fmt"

// Side says which of the two a deployment is: the one that is read, or the one that is written.
type Side uint8

// The zero value is neither, so that a side that was forgotten does not pass for one.
const (
	Source Side = iota + 1
	Target
)

// String is the word of reports, flags and messages.
func (s Side) String() string {
	switch s {
	case Source:
		return "source"
	case Target:
		return "target"
	}
	return fmt.Sprintf("side %d", uint8(s))
}
