package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/migrator/internal/reread"
	"surecut/migrator/internal/target"
)

// copier copies keys from the source to the target, in place of commands that the target cannot run, or of which it is not known what they
// did there.
type copier struct {
	*Config
	router *router
	ahead  *ahead
	holds  *holds
}

// copyKeys copies keys from the source to the target, in place of applying the commands to them that the stream holds up to the offset end.
// While the lanes of the keys stand still, it reads the source at end or later. Commands up to the offset of the copy are then not
// applied to these keys: the transaction that writes the copies writes this offset as the fence of each key. lost are the keys that the
// target cannot hold; they are reported, and are absent from the target.
//
// Keys of slots that move on the source are noted instead, or left to the link that has read them.
func (cp *copier) copyKeys(ctx context.Context, keys []keyspace.Key, end int64) (lost []keyspace.Key, err error) {
	for {
		if keys, err = cp.ours(keys); err != nil || len(keys) == 0 {
			return nil, err
		}
		lost, err = cp.copyNow(ctx, keys, end)
		sign, failed := cp.Scope.Moving.Refused(err)
		if !sign || failed != nil {
			return lost, errors.Join(err, failed)
		}
	}
}

// ours returns those keys that are to be read from the link's shard.
func (cp *copier) ours(keys []keyspace.Key) (ours []keyspace.Key, err error) {
	if cp.Scope.Moving == nil {
		return keys, nil
	}
	var others []keyspace.Key
	for _, k := range keys {
		wanted, err := cp.Scope.Moving.Doubt(k, cp.Scope.SourceSlot(k))
		switch {
		case err != nil:
			return nil, err
		case wanted:
			ours = append(ours, k)
		default:
			others = append(others, k)
		}
	}
	if len(others) == 0 {
		return ours, nil
	}
	cp.Doubts.clean(others)
	return ours, cp.Scope.Moving.Notes.Save() // before the lists of doubts forget them
}

// copyNow does what copyKeys does, with keys that the shard must have.
func (cp *copier) copyNow(ctx context.Context, keys []keyspace.Key, end int64) (lost []keyspace.Key, err error) {
	var at []piece
	for _, k := range keys {
		at = append(at, piece{slot: cp.Target.Slot(k.Name)})
	}
	err = cp.router.meet(ctx, cp.router.lanesOf(at), func() error {
		got, err := cp.Source.Read(ctx, keys, true, end)
		if err != nil {
			return err
		}
		if err := cp.Link.Reserve(got[len(got)-1].Offset); err != nil { // a restart must not apply commands whose effect the copies already have
			return err
		}
		for group := got; len(group) > 0; {
			n := together(group)
			missing, err := cp.write(ctx, group[:n], end)
			if err != nil {
				return err
			}
			lost, group = append(lost, missing...), group[n:]
		}
		for _, c := range got {
			cp.ahead.fence(c.Key, c.Offset)
		}
		cp.Doubts.clean(keys)
		return nil
	})
	return lost, err
}

// mostTogether bounds the bytes of copies that are written in one transaction, so that it does not hold up the target for long, and is not larger
// than the target takes. A larger copy is written alone.
const mostTogether = 512 << 10

// together returns how many of the copies are written together.
func together(got []reread.Copy) (n int) {
	bytes := 0
	for _, c := range got {
		if bytes += len(c.Payload) + len(c.Key.Name); n > 0 && bytes > mostTogether {
			break
		}
		n++
	}
	return n
}

// write writes copies together. lost are the keys that the target cannot hold.
func (cp *copier) write(ctx context.Context, got []reread.Copy, end int64) (lost []keyspace.Key, err error) {
	txs, lost, err := cp.copyTransactions(ctx, got, end)
	if err != nil {
		return nil, err
	}
	if err := cp.Writer.Commit(ctx, txs); err != nil {
		return nil, err
	}
	for _, x := range txs {
		cp.Positions.acknowledge(x.Units, x.End)
		for _, f := range x.Failed {
			if sent := f.Call.Args; sent[0] == "RESTORE" && cp.Target.Most().RefusesCopy(len(sent[3])) {
				// That has shown just now, so that the next copy is built by commands.
				if err := cp.Doubts.AddInterrupted([]keyspace.Key{f.Call.Key}); err != nil {
					return nil, err
				}
				continue
			}
			cp.Ledger.Note(f.Call.Key.DB, f.Call.Key.Name, f.Call.Args[0], "the copy was refused by the target: "+f.Reply.Error())
			lost = append(lost, f.Call.Key)
		}
	}
	return lost, nil
}

// rebuild writes a copy by commands, since the target does not take its payload in one. It says whether the target holds the copy, and returns
// a RefusedError if the target does not take it in any form.
func (cp *copier) rebuild(ctx context.Context, c *reread.Copy, db int, payload string) (held bool, err error) {
	value := target.Value{DB: db, Name: c.Key.Name, Kind: payload[0], ExpireAt: c.ExpireAt}
	parts, err := cp.Writer.Rebuild(ctx, value, target.Overwrite{First: true}, func(v keyspace.Visitor) error {
		return rdb.WalkValue(payload[0], []byte(payload[1:len(payload)-10]), v)
	})
	var refused *target.RefusedError
	switch {
	case errors.Is(err, keyspace.ErrGone): // it has expired meanwhile
		return false, nil
	case errors.As(err, &refused):
		cp.Ledger.Note(c.Key.DB, c.Key.Name, "", "the key was not copied: "+refused.Reply.Error())
		return false, refused
	case err != nil:
		return false, err
	}
	for _, part := range parts {
		cp.Ledger.Note(c.Key.DB, c.Key.Name, "", part)
	}
	return true, nil
}

// copyTransactions returns the transactions that write copies. All copies of one unit are in one transaction, so that its checkpoint covers
// all of them. A key that the target has no encoding for is lost, and deleted there.
func (cp *copier) copyTransactions(ctx context.Context, got []reread.Copy, end int64) (txs []*target.Transaction, lost []keyspace.Key, err error) {
	t := cp.Target
	byUnit := map[target.Unit]*target.Transaction{}
	for _, c := range got {
		slot := cp.Target.Slot(c.Key.Name)
		u := t.UnitOf(slot)
		db, ok := cp.Scope.Map(c.Key.DB)
		if !ok {
			return nil, nil, fmt.Errorf("the target has no database %d; map it with Filter.DBMap or Filter.DBPrefix", c.Key.DB)
		}
		x := byUnit[u]
		if x == nil {
			reached := max(end, cp.ahead.resumed[u])
			i := slices.IndexFunc(txs, func(x *target.Transaction) bool { return !t.Cluster && x.End == reached })
			if i < 0 {
				i = len(txs)
				txs = append(txs, &target.Transaction{Slot: slot, End: reached, Fence: map[keyspace.Key]int64{}})
			}
			x = txs[i]
			x.Units = append(x.Units, u)
		}
		byUnit[u] = x
		x.Fence[c.Key] = c.Offset
		cp.router.lane(slot).keepFence(u, c.Key)
		if err := cp.holds.holdCopy(&c); err != nil {
			return nil, nil, err
		}
		del := target.Call{DB: db, Args: []string{"DEL", c.Key.Name}, Key: c.Key}
		if !c.Present {
			x.Calls = append(x.Calls, del)
			continue
		}
		payload, err := t.Payloads.Dumped(c.Payload)
		if err == nil && t.Most().RefusesCopy(len(payload)) {
			held, err := cp.rebuild(ctx, &c, db, payload)
			switch {
			case errors.As(err, new(*target.RefusedError)):
				lost = append(lost, c.Key)
			case err != nil:
				return nil, nil, err
			}
			if !held {
				x.Calls = append(x.Calls, del)
			}
			continue
		}
		x.Calls = append(x.Calls, del)
		if err != nil {
			cp.Ledger.Note(c.Key.DB, c.Key.Name, "", "the key was not copied: "+err.Error())
			lost = append(lost, c.Key)
			continue
		}
		x.Calls = append(x.Calls, target.Call{DB: db, Args: restoreArgs(t.Dialect, c.Key.Name, payload, c.ExpireAt), Key: c.Key, Expires: c.ExpireAt})
		if c.ExpireAt > 0 && !t.Dialect.Has(command.AbsTTL) {
			x.Calls = append(x.Calls, target.Call{DB: db, Args: []string{"PEXPIREAT", c.Key.Name, strconv.FormatInt(c.ExpireAt, 10)}, Key: c.Key})
		}
	}
	return txs, lost, nil
}

// restoreArgs returns a RESTORE with an absolute expiry (ABSTTL, since 5.0). For older targets it is without expiry, and PEXPIREAT follows.
func restoreArgs(dialect *command.Dialect, key, payload string, expireAt int64) []string {
	if !dialect.Has(command.AbsTTL) {
		return []string{"RESTORE", key, "0", payload}
	}
	return []string{"RESTORE", key, strconv.FormatInt(expireAt, 10), payload, "ABSTTL"}
}

// lostWith says whether nothing can be copied in place of a call that failed, and why.
func (cp *copier) lostWith(f target.Failure) (why string, lost bool) {
	why = cp.CannotCopy
	switch {
	case f.Call.Message:
		return "", true
	case why != "":
		return "; " + why, true
	case f.Call.Unnamed && len(f.Call.Keys()) == 0:
		return "; it is not known which keys the command writes, so they cannot be copied", true
	}
	return "", false
}

// settleDoubts copies the keys of calls that failed, and counts their commands as repaired instead of applied.
func (cp *copier) settleDoubts(ctx context.Context, doubts []target.Failure) error {
	var keys []keyspace.Key
	seen := map[keyspace.Key]bool{}
	commands := map[keyspace.Key]int64{} // number of commands that the copy of a key stands for
	for _, f := range doubts {
		name := ""
		if len(f.Call.Args) > 0 {
			name = keyspace.PrintableShort(f.Call.Args[0])
		}
		cp.Ledger.Applied.Add(-f.Call.Commands)
		if why, lost := cp.lostWith(f); lost {
			cp.Ledger.Reported.Add(f.Call.Commands)
			cp.Ledger.Note(f.Call.Key.DB, f.Call.Key.Name, name, "the target refused the command: "+f.Reply.Error()+why)
			continue
		}
		if f.Call.Unnamed && endpoint.Code(f.Reply) == "NOSCRIPT" {
			cp.Ledger.Note(f.Call.Key.DB, "", name, "the target does not know the script, and its text has not been seen: the keys that it declares were copied, but keys that it does not declare were not")
		}
		cp.Log.Debug("the keys of a command are copied, since the target refused it or may lack a key of it", "command", name,
			"key", keyspace.PrintableShort(f.Call.Key.Name), "reply", f.Reply)
		cp.Ledger.Repaired.Add(f.Call.Commands)
		commands[f.Call.Key] += f.Call.Commands
		for _, k := range f.Call.Keys() {
			if !seen[k] && cp.Scope.Carries(k) {
				seen[k] = true
				keys = append(keys, k)
			}
		}
	}
	cp.Doubts.remember(keys)
	for len(keys) > 0 {
		n := min(len(keys), 100)
		lost, err := cp.copyKeys(ctx, keys[:n], cp.Positions.dispatchedTo().Offset)
		if err != nil {
			return err
		}
		for _, k := range lost {
			cp.Ledger.Repaired.Add(-commands[k])
			cp.Ledger.Reported.Add(commands[k])
			delete(commands, k)
		}
		keys = keys[n:]
	}
	return cp.Doubts.settled()
}
