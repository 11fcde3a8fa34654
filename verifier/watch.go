package verifier

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// watchSome reads some of the keys under WATCH: all of them, or half as many again and again, down to one, until none of them changes
// while it is read. It returns the offset.
func (r *instantReader) watchSome(ctx context.Context, of []int) (int64, error) {
	if len(of) == 0 {
		return 0, errLater
	}
	room := max(r.node.flight.ask.Load()/firstBytes, 1)
	for group := of[:min(len(of), int(room))]; ; {
		some := make([]record, len(group))
		for j, i := range group {
			some[j] = r.keys[i]
		}
		got, offset, err := r.watched(ctx, some)
		switch {
		case err == nil:
			for j, i := range group {
				r.out[i] = got[j]
			}
			return offset, nil
		case !errors.Is(err, errChanged) && !errors.As(err, new(*refusal)) || passing(err):
			return 0, err
		case len(group) > 1:
			group = group[:len(group)/2]
			continue
		}
		r.out[group[0]].Err = err
		if of = of[1:]; len(of) == 0 {
			return 0, err
		}
		group = of[:min(len(of), len(group))]
	}
}

// watched reads keys in pieces under WATCH and returns an offset at which all of them held what was read. It returns
// errChanged if one of them was written meanwhile; of a stream of which anything but the entries has changed, the reading says so. It queues no
// command between MULTI and EXEC, so that a server over its maxmemory still answers.
func (r *instantReader) watched(ctx context.Context, keys []record) ([]reading, int64, error) {
	names := make([]string, len(keys))
	for i := range keys {
		names[i] = keys[i].name
	}
	if _, err := r.one(ctx, append([]string{"WATCH"}, names...)...); err != nil {
		return nil, 0, err
	}
	connection := r.opened // a connection that was opened anew would watch nothing
	before, err := r.restsOf(ctx, keys)
	if err != nil {
		r.close() // this also ends the watch
		return nil, 0, err
	}
	out := make([]reading, len(names))
	if err := r.try(ctx, names, out, frameKeep); err != nil {
		r.close()
		return nil, 0, err
	}
	results, err := r.do(ctx, func(b rueidis.Builder) rueidis.Commands {
		return rueidis.Commands{command(b, r.node.facts.OffsetCommand()...), command(b, "MULTI"), command(b, "EXEC")}
	})
	if err != nil {
		return nil, 0, err
	}
	if r.opened != connection {
		return nil, 0, &connError{fmt.Errorf("the connection to %s broke while keys were watched on it", r.node.addr())}
	}
	at, err := results[0].ToMessage()
	if err != nil {
		return nil, 0, replyError(r.node.facts.OffsetCommand()[0], err)
	}
	offset, err := endpoint.ParseOffset(at)
	if err != nil {
		return nil, 0, fmt.Errorf("ask %s for its offset: %w", r.node.addr(), err)
	}
	switch err := results[2].Error(); {
	case endpoint.IsNil(err):
		return nil, 0, errChanged
	case err != nil:
		return nil, 0, replyError("EXEC", err)
	}
	after, err := r.restsOf(ctx, keys)
	if err != nil {
		return nil, 0, err
	}
	for i, name := range names {
		if out[i].Type == keyspace.Stream && r.depth == DepthValue && (before[name] == 0 || before[name] != after[name]) {
			out[i] = reading{Type: keyspace.Stream, Err: fmt.Errorf("%w: its groups or its last ID did", errChanged)}
		}
	}
	return out, offset, nil
}

// restsOf returns digests of all that streams hold besides their entries: the last ID, and the groups with their pending entries. WATCH
// does not notice a change of these, neither a delivery nor an acknowledgement (observed from Redis 6.0 to 8.0, and in Valkey 8.1).
// Digests that are the same before and after a read show that nothing has changed in between, because each change leaves a trace: a
// delivery moves the last ID of its group or counts up in a pending entry, and an acknowledgement takes the entry away. A key that is
// no stream has no digest.
func (r *instantReader) restsOf(ctx context.Context, keys []record) (map[string]uint64, error) {
	digests := map[string]uint64{}
	for i := range keys {
		if keys[i].t != keyspace.Stream || r.depth != DepthValue {
			continue
		}
		h := keyspace.NewHasher()
		groups, err := r.array(ctx, "XINFO", "GROUPS", keys[i].name)
		if err == nil {
			err = (&streamReader{r.conn, keys[i].name, h}).rest(ctx, groups)
		}
		if passing(err) {
			return nil, err
		}
		if err == nil { // any other error shows when the key is read
			digests[keys[i].name] = h.Sum().Keyed | 1
		}
	}
	return digests, nil
}
