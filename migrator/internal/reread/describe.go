package reread

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"surecut/internal/command"
	"surecut/internal/endpoint"
)

// Describe asks the node of the link for a command that surecut does not know by this name. It returns what surecut knows of the command by the
// name that its server gave it at first, if rename-command has changed that, and else where the server says that the keys stand. It returns nil
// if the server does not know the command.
func (s *Reader) Describe(ctx context.Context, name string) (*command.Spec, error) {
	client, err := s.d.Client(ctx, s.node(), 0)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.node(), err)
	}
	list, err := client.Do(ctx, endpoint.Arbitrary(client, "COMMAND", "INFO", name)).ToArray()
	if err != nil || len(list) != 1 || list[0].IsNil() {
		return nil, err
	}
	facts, err := list[0].ToArray()
	if err != nil || len(facts) < 6 {
		return nil, err
	}
	own, err := facts[0].ToString()
	if err != nil {
		return nil, err
	}
	if spec, known := command.LookupName(own); known {
		return spec, nil
	}
	var n [4]int64 // arity, first key, last key, step
	for i, at := range []int{1, 3, 4, 5} {
		if n[i], err = facts[at].AsInt64(); err != nil {
			return nil, err
		}
	}
	flags, err := facts[2].AsStrSlice()
	return command.Described(strings.ToUpper(own), int(n[0]), slices.Contains(flags, "write"), int(n[1]), int(n[2]), int(n[3])), err
}
