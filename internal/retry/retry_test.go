package retry

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		begun := time.Now()
		if err := errors.Join(Pause(ctx, time.Minute), Pause(ctx, 0), Pause(ctx, -time.Minute)); err != nil || time.Since(begun) != time.Minute {
			t.Errorf("waited %v, %v, want a minute", time.Since(begun), err)
		}
		time.AfterFunc(time.Second, func() { cancel(cause) })
		if err := Pause(ctx, time.Hour); err != cause || time.Since(begun) != time.Minute+time.Second {
			t.Errorf("waited %v, %v, want the cause after a second", time.Since(begun), err)
		}
		if err := Pause(ctx, 0); err != cause {
			t.Errorf("a cancelled context gave %v", err)
		}
	})
}

func TestPolicy(t *testing.T) {
	passing, final := errors.New("passing"), errors.New("final")
	for _, tt := range []struct {
		name       string
		fails      int   // so often
		then       error // nil: it succeeds
		again, err error
		tries      int
		took       time.Duration
	}{
		{name: "at once", tries: 1},
		{name: "the third time", fails: 2, tries: 3, took: 3 * time.Second},
		{name: "pauses stop growing", fails: 4, tries: 5, took: 11 * time.Second},
		{name: "final", then: final, err: final, tries: 1},
		{name: "final in the end", fails: 1, then: final, err: final, tries: 2, took: time.Second},
		{name: "given up", fails: 1000, again: passing, tries: 7, took: 19 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			begun, tries := time.Now(), 0
			again, err := Policy{time.Second, 4 * time.Second, 15 * time.Second}.Do(t.Context(), func() (again, err error) {
				if tries++; tries <= tt.fails {
					return passing, nil
				}
				return nil, tt.then
			})
			if again != tt.again || err != tt.err || tries != tt.tries || time.Since(begun) != tt.took {
				t.Errorf("%s: %v, %v after %d tries and %v", tt.name, again, err, tries, time.Since(begun))
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	if again, err := (Policy{For: time.Hour, First: time.Hour, Most: time.Hour}).Do(ctx, func() (again, err error) { cancel(); return passing, nil }); again != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, %v", again, err)
	}
}
