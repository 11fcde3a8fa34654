//go:build servers

package verifier

import (
	"testing"
	"time"

	"surecut/e2e/servers"
)

// Keys that have expired and that a server still holds count in DBSIZE. They are absent, and no shortfall of the enumeration.
func TestExpiredKeysAreAbsent(t *testing.T) {
	t.Parallel()
	for _, image := range servers.Must() {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			source, target := servers.Standalone(t, image), servers.Standalone(t, image)
			source.Must("DEBUG", "SET-ACTIVE-EXPIRE", "0")
			fill(source, 100)
			fill(target, 100)
			replica := servers.Replica(t, source)
			source.Must("EVAL", "for i=1,1000 do redis.call('SET','x'..i,'v','PX',1) end", "0")
			source.Must("WAIT", "1", "10000")
			for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
				if n, _ := replica.Do("EXISTS", "x1000").AsInt64(); n == 0 {
					break
				}
				if time.Now().After(end) {
					t.Fatal("a key does not expire")
				}
			}
			// The replica comes first: it deletes none of them, while reading the primary does.
			for _, from := range []*servers.Server{replica, source} {
				r := verify(t, from, target, func(o *Config) { o.Interval = 10 * time.Millisecond })
				if r.Verdict != Same || r.Totals.Same != 110 || r.Totals.SourceKeys != 110 {
					t.Errorf("%s: %s, %+v, %q", from.Addr, r.Verdict, r.Totals, r.Reasons)
				}
			}
		})
	}
}
