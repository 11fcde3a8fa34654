package endpoint

import "fmt"

// Side says which of the two deployments is meant: the source, which is read, or the target, which is written.
type Side uint8

// The zero value is neither side, so that a forgotten side is not mistaken for one.
const (
	Source Side = iota + 1
	Target
)

// String returns the word for the side in reports, flags and messages.
func (s Side) String() string {
	switch s {
	case Source:
		return "source"
	case Target:
		return "target"
	}
	return fmt.Sprintf("side %d", uint8(s))
}
