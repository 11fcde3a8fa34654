package target

import (
	"context"
	"fmt"

	"surecut/internal/reply"
)

// HasFunctions says whether function libraries can be loaded at each node: since 7.0, and not through a proxy.
func (t *Target) HasFunctions() bool { return t.Can.Nodes && t.Dialect.Knows("FUNCTION") }

// Libraries returns the code of each function library of a node, by name. The error is a RefusedError if the node does not tell.
func (t *Target) Libraries(ctx context.Context, addr string) (map[string]string, error) {
	m, err := t.ask(ctx, addr, "FUNCTION", "LIST", "WITHCODE")
	if err != nil {
		return nil, err
	}
	list, err := reply.Libraries(&m)
	if err != nil {
		return nil, fmt.Errorf("target %s: FUNCTION LIST: %w", addr, err)
	}
	return list, nil
}

// LoadLibrary loads a function library at a node, in place of one of its name. The error is a RefusedError if the node does not take it.
func (t *Target) LoadLibrary(ctx context.Context, addr, code string) error {
	_, err := t.ask(ctx, addr, "FUNCTION", "LOAD", "REPLACE", code)
	return err
}

// DeleteLibrary deletes a function library from a node. The error is a RefusedError if the node does not do that, or has it no longer.
func (t *Target) DeleteLibrary(ctx context.Context, addr, name string) error {
	_, err := t.ask(ctx, addr, "FUNCTION", "DELETE", name)
	return err
}
