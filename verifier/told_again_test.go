package verifier

import (
	"strconv"
	"strings"
	"testing"

	"surecut/internal/endpoint/endpointtest"
)

// TestServersAreAskedAgain: what happens to a server after its keys were listed, while a suspect is still read, takes nothing from the
// verdict of the suspect, and all from that of the keys that were compared before.
func TestServersAreAskedAgain(t *testing.T) {
	gone := func(s *endpointtest.Server, names ...string) {
		for _, name := range names {
			s.Put(name, nil)
		}
	}
	all := []string{"string", "list", "set", "zset", "hash", "stream"}
	for _, tt := range []struct {
		name, why string
		happens   func(p *toldPair)
		want      Verdict
		says      string
	}{
		{"nothing", "", func(*toldPair) {}, Same, "All 7 keys"},
		{"the target was restarted", "it may have come back with older data", func(p *toldPair) { p.target.Restart() }, Unchecked, "was restarted, or replaced by another server, after its keys were listed"},
		{"the source was restarted", "", func(p *toldPair) { p.source.Restart() }, Unchecked, "was restarted, or replaced by another server, after its keys were listed"},
		{"the target does not answer", "", func(p *toldPair) { p.target.Always("INFO", "-NOPERM no\r\n") }, Unchecked, "did not report at the end whether it still is the server that was read"},
		{"the target was a replica for a while", "it may have been filled anew", func(p *toldPair) {
			p.target.Tell("master_replid", strings.Repeat("b", 40), "master_replid2", strings.Repeat("a", 40))
		}, Unchecked, "and was promoted again"},
		{"the target has got its first replica", "its stream has another name, and its data are the same", func(p *toldPair) {
			p.target.Tell("master_replid", strings.Repeat("b", 40), "master_replid2", strings.Repeat("0", 40))
		}, Same, "All 7 keys"},
		{"the target is a replica", "", func(p *toldPair) { p.target.Tell("role", "slave", "master_host", "h", "master_port", "1") }, Unchecked, "became a replica of h:1"},
		{"keys were evicted", "perhaps some that were compared", func(p *toldPair) { p.target.Tell("evicted_keys", "2") }, Unchecked, "evicted 2 keys"},
		{"keys of the source were evicted", "it has sent their deletion", func(p *toldPair) { p.source.Tell("evicted_keys", "2") }, Same, "All 7 keys"},
		{"the target was flushed", "", func(p *toldPair) { gone(p.target, all...) }, Unchecked, "explains why"},
		{"the target was flushed and filled", "", func(p *toldPair) { p.target.Tell("cmdstat_flushall", "calls=1,usec=1") }, Unchecked, "ran FLUSHALL"},
		{"both were flushed", "the target has only followed", func(p *toldPair) {
			gone(p.source, all...)
			gone(p.target, all...)
			p.source.Tell("rdb_changes_since_last_save", "6", "cmdstat_flushall", "calls=1,usec=1")
			p.target.Tell("cmdstat_flushall", "calls=1,usec=1")
		}, Same, "All 7 keys"},
		{"keys have expired", "", func(p *toldPair) {
			gone(p.target, all...)
			p.target.Tell("expired_keys", strconv.Itoa(len(all)))
		}, Same, "All 7 keys"},
		{"keys were deleted on the source", "the target has followed", func(p *toldPair) {
			gone(p.source, all...)
			gone(p.target, all...)
			p.source.Tell("rdb_changes_since_last_save", strconv.Itoa(len(all)))
		}, Same, "All 7 keys"},
		{"keys were deleted on the source, which was saved", "how many is not known", func(p *toldPair) {
			gone(p.source, all...)
			gone(p.target, all...)
			p.source.Tell("rdb_last_save_time", "1700000001")
		}, Same, "All 7 keys"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newToldPair(t, "7.0.15")
			gone(p.source, "gone")
			gone(p.target, "more")
			reads := 0
			p.source.On("TYPE odd", func([]string) string {
				if reads++; reads == 2 { // the first one came from the listing
					p.target.Put("odd", stringOf("abc"))
					tt.happens(p)
				}
				return endpointtest.Usual
			})
			r, err := verifyTold(t, p.source, p.target, nil)
			if err != nil {
				t.Fatal(err)
			}
			if text := strings.Join(r.Reasons, " "); r.Verdict != tt.want || !strings.Contains(text, tt.says) {
				t.Errorf("%s: %s\nwant %s, %q (%s)", r.Verdict, text, tt.want, tt.says, tt.why)
			}
			if reads < 2 {
				t.Errorf("the suspect was read %d times", reads)
			}
		})
	}
}
