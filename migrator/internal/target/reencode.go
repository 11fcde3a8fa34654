package target

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/migrator/internal/slab"
)

// CopyLimit bounds the size of a copied value in bytes, once it is re-encoded.
const CopyLimit = 512 << 20

// moduleExitsUntil is the first version of a server that refuses a value of a module that it has not loaded. Older servers end their
// process over it.
const moduleExitsUntil = 60200

// Payloads encodes values as RESTORE takes them on the target.
type Payloads struct {
	Version int  // the lowest RDB version that its nodes read
	Modules bool // values of modules may be sent
}

var moduleNotLoaded = &keyspace.UnsupportedError{What: "values of a module that the target has not loaded (or may not have loaded)", Since: "6.2 (older servers crash on such values)"}

// AppendValue appends the payload of a snapshot's value of at most limit bytes.
func (p Payloads) AppendValue(dst []byte, rdbType byte, raw []byte, limit int64) ([]byte, error) {
	if rdbType == rdb.TypeModule && !p.Modules {
		return dst, moduleNotLoaded
	}
	return rdb.Encoder{Version: p.Version, Max: int(limit)}.Append(dst, rdbType, raw)
}

// Dumped returns the payload for the target from one that another server's DUMP has returned.
func (p Payloads) Dumped(payload string) (string, error) {
	if len(payload) > 0 && payload[0] == rdb.TypeModule && !p.Modules {
		return "", moduleNotLoaded
	}
	out, err := rdb.Encoder{Version: p.Version, Max: CopyLimit}.Payload([]byte(payload))
	return slab.View(out), err
}

// NotRestorable says whether err means that the target cannot take a value.
func NotRestorable(err error) bool {
	return errors.Is(err, rdb.ErrTooLarge) || errors.As(err, new(*rdb.UnsupportedError)) || isUnsupported(err)
}

// newPayloads asks the target's nodes which RDB version they read and, if they are older than 6.2, whether they have the source's modules.
func newPayloads(ctx context.Context, t *Target, source *endpoint.Deployment) (Payloads, error) {
	p := Payloads{Modules: true}
	for i, addr := range t.Primaries() {
		version, _, err := t.d.AcceptedRDB(ctx, addr)
		if err != nil {
			return p, fmt.Errorf("target %s: find out which RDB version it reads: %w", addr, err)
		}
		if i == 0 || version < p.Version {
			p.Version = version
		}
	}
	if t.Number >= moduleExitsUntil {
		return p, nil
	}
	if p.Modules = !source.Spec().IsFile(); !p.Modules {
		return p, nil
	}
	needed := map[string]bool{}
	for _, s := range source.Shards() {
		names, err := loadedModules(ctx, source, s.Primary.Addr)
		if err != nil {
			p.Modules = false
			return p, ctx.Err()
		}
		for _, n := range names {
			needed[n] = true
		}
	}
	for _, addr := range t.Primaries() {
		names, err := loadedModules(ctx, t.d, addr)
		for n := range needed {
			if err != nil || !slices.Contains(names, n) {
				p.Modules = false
			}
		}
	}
	return p, ctx.Err()
}

// loadedModules returns the names of a server's modules, by MODULE LIST (since 4.0).
func loadedModules(ctx context.Context, d *endpoint.Deployment, addr string) ([]string, error) {
	c, err := d.Client(ctx, addr, 0)
	if err != nil {
		return nil, err
	}
	list, err := c.Do(ctx, arbitrary(c, "MODULE", "LIST")).ToArray()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, m := range list {
		fields, err := m.AsStrMap()
		if err != nil {
			return nil, err
		}
		names = append(names, fields["name"])
	}
	return names, nil
}
