package verifier

import (
	"context"
	"errors"
	"strconv"
	"testing"
)

// A link that stands still for less time than a batch of keys needs must not make their repair fail: the keys are tried again, fewer
// at a time.
func TestRepairInFrames(t *testing.T) {
	errOver := errors.New("the time ran out")
	for _, tt := range []struct {
		name   string
		most   int // jobs that one frame has time for
		never  string
		failed int
	}{
		{"time for all", standingKeys, "", 0},
		{"time for three", 3, "", 0},
		{"time for one", 1, "", 0},
		{"one that never succeeds", 4, "k7", 1},
		{"no time at all", 0, "", 40},
	} {
		t.Run(tt.name, func(t *testing.T) {
			jobs := make([]job, 40)
			for i := range jobs {
				jobs[i] = job{keyID: keyID{name: "k" + strconv.Itoa(i)}, result: &Repaired{}}
			}
			done := map[string]int{}
			err := inFrames(context.Background(), jobs, func(some []job) (left []job, err error) {
				for i, j := range some {
					if i >= tt.most || j.name == tt.never {
						left, err = append(left, j), errOver
						continue
					}
					done[j.name]++
				}
				return left, err
			})
			if err != nil {
				t.Fatal(err)
			}
			failed := 0
			for i := range jobs {
				if jobs[i].result.Error != "" {
					failed++
				} else if done[jobs[i].name] != 1 {
					t.Errorf("%s was written %d times", jobs[i].name, done[jobs[i].name])
				}
			}
			if failed != tt.failed || len(done) != 40-tt.failed {
				t.Errorf("%d failed and %d were written, want %d and %d", failed, len(done), tt.failed, 40-tt.failed)
			}
		})
	}
}

// An interrupted run ends at once.
func TestRepairInFramesIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	err := inFrames(ctx, []job{{result: &Repaired{}}}, func(some []job) ([]job, error) {
		cancel()
		return some, ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
