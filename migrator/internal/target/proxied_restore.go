package target

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/slab"
)

// Restore writes one batch, in waves. Keys for which there was no answer are tried again.
func (w *proxied) Restore(ctx context.Context, b *Batch, settle func(k *Value, refused *RefusedError) error) error {
	if err := w.t.take(ctx, len(b.Payload), len(b.Keys)); err != nil {
		return err
	}
	left := b.Keys
	return w.t.Retry(ctx, func() (again, err error) {
		keys, addr := left, w.p.at()
		for i := range keys {
			keys[i].Attempts++
		}
		failed := w.attempt(ctx, b, keys)
		left = nil
		for i := range keys {
			k := &keys[i]
			refused, why, err := judge(addr, k, failed[i])
			if err == nil && why == nil {
				err = settle(k, refused)
			}
			if err != nil {
				return nil, err
			}
			if why != nil {
				left, again = append(left, *k), fmt.Errorf("target %s: %w", addr, why)
			}
		}
		return again, ctx.Err()
	})
}

// attempt sends values once, and returns an error for each that failed.
func (w *proxied) attempt(ctx context.Context, b *Batch, keys []Value) (failed []error) {
	failed = w.whatExists(ctx, b, keys)
	var calls []*Call
	of := map[*Call]int{}
	for i := range keys {
		k := &keys[i]
		if failed[i] != nil {
			continue
		}
		for _, args := range w.p.restoreCalls(k.Name, slab.View(b.Value(k)), k.ExpireAt) {
			c := k.call(args...)
			of[c] = i
			calls = append(calls, c)
		}
	}
	for _, wave := range waves(calls) {
		wave = slices.DeleteFunc(wave, func(c *Call) bool { return failed[of[c]] != nil })
		if len(wave) == 0 {
			continue
		}
		for i, a := range w.sendWave(ctx, wave) {
			failed[of[wave[i]]] = a.err
		}
	}
	return failed
}

// whatExists returns ErrExists for each key that the target has and that must not be overwritten, and another error if that is not known.
func (w *proxied) whatExists(ctx context.Context, b *Batch, keys []Value) []error {
	failed := make([]error, len(keys))
	var calls []*Call
	var of []int
	for i := range keys {
		if k := &keys[i]; !b.Over.At(k.Attempts) {
			calls, of = append(calls, k.call("EXISTS", k.Name)), append(of, i)
		}
	}
	if len(calls) == 0 {
		return failed
	}
	for i, a := range w.sendWave(ctx, calls) {
		if there, err := a.count(); err != nil {
			failed[of[i]] = err
		} else if there > 0 {
			failed[of[i]] = ErrExists
		}
	}
	return failed
}

// call returns a command on the key.
func (k *Value) call(args ...string) *Call {
	return &Call{DB: k.DB, Args: args, Key: keyspace.Key{DB: k.DB, Name: k.Name}}
}

// Rebuild writes a value by commands that are answered one by one, under its own name, since proxies pass no RENAME on.
func (w *proxied) Rebuild(ctx context.Context, k Value, over Overwrite, walk func(keyspace.Visitor) error) (lost []string, err error) {
	addr := w.p.at()
	where := fmt.Sprintf("target %s: write key %s by commands", addr, keyspace.PrintableShort(k.Name))
	if w.p.refuses(ctx, k.call("EXISTS", k.Name)) {
		return nil, &RefusedError{addr, errKeyTooLong}
	}
	if !over.At(k.Attempts) {
		there, err := w.sendWave(ctx, []*Call{k.call("EXISTS", k.Name)})[0].count()
		if err != nil {
			return nil, judgeBuilt(where, addr, err)
		}
		if there > 0 {
			return nil, &RefusedError{addr, ErrExists}
		}
	}
	send := func(args ...string) error {
		if err := w.t.Most().refuses(args...); err != nil {
			return err
		}
		if err := w.t.take(ctx, len(args[len(args)-1]), 1); err != nil {
			return err
		}
		return w.sendWave(ctx, []*Call{k.call(args...)})[0].err
	}
	b := newRebuild([]byte(k.Name), w.t.Dialect, func(args ...[]byte) error { return send(copies(args)...) })
	b.most = w.t.Most()
	if err = send("DEL", k.Name); err == nil {
		if err = walk(b); err == nil {
			err = b.Finish(k.ExpireAt)
		}
	}
	err = judgeBuilt(where, addr, b.explained(err))
	if errors.Is(err, keyspace.ErrGone) || errors.As(err, new(*RefusedError)) {
		if err := send("DEL", k.Name); err != nil {
			return b.Lost, fmt.Errorf("%s: delete the part of it that was written: %w", where, err)
		}
	}
	return b.Lost, err
}

// Remove deletes keys, none of which occurs twice.
func (w *proxied) Remove(ctx context.Context, keys []keyspace.Key) error {
	wave := make([]*Call, len(keys))
	for i, k := range keys {
		wave[i] = &Call{DB: k.DB, Args: []string{"DEL", k.Name}, Key: k}
	}
	for _, a := range w.sendWave(ctx, wave) {
		if a.err != nil {
			return fmt.Errorf("target %s: %w", w.p.at(), a.err)
		}
	}
	return ctx.Err()
}
