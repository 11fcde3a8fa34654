package migrator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// restore writes one batch, in waves. Keys for which there was no answer are tried again.
func (w *proxied) restore(ctx context.Context, b *batch, settle func(k *loadKey, refused *refusedError) error) error {
	if err := w.t.take(ctx, len(b.payload), len(b.keys)); err != nil {
		return err
	}
	left := b.keys
	return w.t.retry(ctx, func() (again, err error) {
		keys, addr := left, w.p.at()
		for i := range keys {
			keys[i].attempts++
		}
		failed := w.attempt(ctx, b, keys)
		left = nil
		for i := range keys {
			k := &keys[i]
			refused, why, err := judgeProxied(addr, k, failed[i])
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

// judgeProxied does what judge does for an error that comes through a proxy: an error reply may say that the proxy does not reach a server.
func judgeProxied(addr string, k *loadKey, failed error) (refused *refusedError, again, err error) {
	if endpoint.Unreached(failed) {
		return nil, failed, nil
	}
	return judge(addr, k, failed)
}

// attempt sends values once, and returns an error for each that failed.
func (w *proxied) attempt(ctx context.Context, b *batch, keys []loadKey) (failed []error) {
	failed = w.whatExists(ctx, b, keys)
	var calls []*call
	of := map[*call]int{}
	for i := range keys {
		k := &keys[i]
		if failed[i] != nil {
			continue
		}
		for _, args := range w.p.restoreCalls(k.name, view(b.value(k)), k.expireAt) {
			c := k.call(args...)
			of[c] = i
			calls = append(calls, c)
		}
	}
	for _, wave := range waves(calls) {
		wave = slices.DeleteFunc(wave, func(c *call) bool { return failed[of[c]] != nil })
		if len(wave) == 0 {
			continue
		}
		for i, a := range w.sendWave(ctx, wave) {
			failed[of[wave[i]]] = a.err
		}
	}
	return failed
}

// whatExists returns errExists for each key that the target has and that must not be overwritten, and another error if that is not known.
func (w *proxied) whatExists(ctx context.Context, b *batch, keys []loadKey) []error {
	failed := make([]error, len(keys))
	var calls []*call
	var of []int
	for i := range keys {
		if k := &keys[i]; !b.over.at(k.attempts) {
			calls, of = append(calls, k.call("EXISTS", k.name)), append(of, i)
		}
	}
	if len(calls) == 0 {
		return failed
	}
	for i, a := range w.sendWave(ctx, calls) {
		if there, err := a.count(); err != nil {
			failed[of[i]] = err
		} else if there > 0 {
			failed[of[i]] = errExists
		}
	}
	return failed
}

// call returns a command on the key.
func (k *loadKey) call(args ...string) *call {
	return &call{db: k.db, args: args, key: keyspace.Key{DB: k.db, Name: k.name}}
}

// rebuild writes a value by commands that are answered one by one, under its own name, since proxies pass no RENAME on.
func (w *proxied) rebuild(ctx context.Context, k loadKey, over overwrite, walk func(keyspace.Visitor) error) (lost []string, err error) {
	addr := w.p.at()
	where := fmt.Sprintf("target %s: write key %s by commands", addr, keyspace.PrintableShort(k.name))
	if w.p.refuses(ctx, k.call("EXISTS", k.name)) {
		return nil, &refusedError{addr, errKeyTooLong}
	}
	if !over.at(k.attempts) {
		there, err := w.sendWave(ctx, []*call{k.call("EXISTS", k.name)})[0].count()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		if there > 0 {
			return nil, &refusedError{addr, errExists}
		}
	}
	send := func(args ...string) error {
		if err := w.t.take(ctx, len(args[len(args)-1]), 1); err != nil {
			return err
		}
		return w.sendWave(ctx, []*call{k.call(args...)})[0].err
	}
	b := newRebuild([]byte(k.name), w.t.dialect, func(args ...[]byte) error { return send(copies(args)...) })
	if err = send("DEL", k.name); err == nil {
		if err = walk(b); err == nil {
			err = b.Finish(k.expireAt)
		}
	}
	err = judgeRebuilt(where, addr, err)
	if errors.Is(err, keyspace.ErrGone) || errors.As(err, new(*refusedError)) {
		if err := send("DEL", k.name); err != nil {
			return b.Lost, fmt.Errorf("%s: delete what was written of it: %w", where, err)
		}
	}
	return b.Lost, err
}

// remove deletes keys, none of which occurs twice.
func (w *proxied) remove(ctx context.Context, keys []keyspace.Key) error {
	wave := make([]*call, len(keys))
	for i, k := range keys {
		wave[i] = &call{db: k.DB, args: []string{"DEL", k.Name}, key: k}
	}
	for _, a := range w.sendWave(ctx, wave) {
		if a.err != nil {
			return fmt.Errorf("target %s: %w", w.p.at(), a.err)
		}
	}
	return ctx.Err()
}
