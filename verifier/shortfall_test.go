package verifier

import (
	"fmt"
	"strings"
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
)

// TestShortfall: a key that a scan returned twice stands for one that it left out, unless the scan returned more keys than the server
// counts anyway.
func TestShortfall(t *testing.T) {
	for _, tt := range []struct {
		name, why     string
		spare, twice  int64
		reasons, want int // how many reasons are noted, and how many are told
		says          string
	}{
		{name: "complete", why: "nothing is said where nothing is wrong"},
		{name: "a key twice", why: "the count agrees only because one key stands in for another", twice: 1, want: 1, says: "target: SCAN returned 1 keys twice, so that 1 fewer keys were listed than DBSIZE reports"},
		{name: "a key twice, and one to spare", why: "without it there are still as many keys as the server counts", spare: 1, twice: 1},
		{name: "more twice than to spare", spare: 2, twice: 5, want: 1, says: "SCAN returned 5 keys twice, so that 3 fewer"},
		{name: "noted and twice", reasons: 2, twice: 1, want: 3, says: "node 01"},
		{name: "far too many", why: "a report is read by people", reasons: 500, want: mostReasons, says: "node 19"},
	} {
		f := shortfall{of: endpoint.Target}
		for i := range tt.reasons {
			f.add("node %02d", i)
		}
		f.spare(tt.spare)
		for range tt.twice {
			f.repeated(1)
		}
		if got := f.reasons(); len(got) != tt.want || !strings.Contains(strings.Join(got, "\n"), tt.says) {
			t.Errorf("%s: %q, want %d with %q (%s)", tt.name, got, tt.want, tt.says, tt.why)
		}
	}
}

// TestChangesBetweenTwoCounts: how many keys may have come or gone while they were listed. Whatever goes beyond is not explained, and
// what the server does not tell explains nothing.
func TestChangesBetweenTwoCounts(t *testing.T) {
	info := func(changes, offset, expired, evicted string) map[string]string {
		return map[string]string{"rdb_changes_since_last_save": changes, "master_repl_offset": offset, "expired_keys": expired, "evicted_keys": evicted}
	}
	for _, tt := range []struct {
		name, why     string
		before, after map[string]string
		want          int64
	}{
		{"at rest", "", info("5", "1000", "1", "1"), info("5", "1000", "1", "1"), 0},
		{"three writes", "", info("5", "1000", "1", "1"), info("8", "1000", "1", "1"), 3},
		{"written, expired and evicted", "each may be another key", info("5", "1000", "1", "1"), info("8", "1000", "3", "5"), 9},
		{"saved meanwhile", "the counter begins again, and the offset goes on", info("500", "1000", "0", "0"), info("2", "1160", "0", "0"), 10},
		{"saved, and the offset says less", "the counter has still counted those", info("500", "1000", "0", "0"), info("20", "1016", "0", "0"), 20},
		{"long commands", "the offset alone would explain too much; the larger of both counts", info("5", "1000", "0", "0"), info("6", "9000", "0", "0"), 500},
		{"not told", "a proxy leaves fields out", info("", "", "", ""), info("", "", "", ""), 0},
		{"told at one end only", "", info("", "1000", "x", "0"), info("9", "", "7", "2"), 2},
		{"nothing at all", "", nil, nil, 0},
	} {
		if got := changes(tt.before, tt.after); got != tt.want {
			t.Errorf("%s: %d, want %d (%s)", tt.name, got, tt.want, tt.why)
		}
	}
}

// TestListingOfWhatCannotBeRead: a key that was listed and not read is neither left out nor the same: its record says that it was not
// read, so that it becomes a suspect.
func TestListingOfWhatCannotBeRead(t *testing.T) {
	for _, tt := range []struct {
		name, why, reply string
		says             string // why the enumeration may not be complete
	}{
		{"each key is refused", "the names were listed all the same", "-NOPERM No permissions to access a key\r\n", ""},
		{"the node is loading", "its second count is not known either", "-LOADING Redis is loading the dataset in memory\r\n", "did not report how many keys it holds"},
		{"the node hangs up on these keys", "it counts them all the same", endpointtest.HangUp, ""},
	} {
		e, s := enumerationTold(t, 5)
		s.Always("TYPE", tt.reply)
		e.cfg.Patience = 0
		if err := e.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		seen := map[string]byte{}
		err := e.to.each(0, func(records []record) error {
			for _, r := range records {
				seen[r.name] = r.flags
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if flags, ok := seen[fmt.Sprintf("k%d", i)]; !ok || flags&unread == 0 {
				t.Errorf("%s: k%d: listed %v, flags %b", tt.name, i, ok, flags)
			}
		}
		why := strings.Join(e.short.reasons(), " ")
		if e.keys.Load() != 5 || !strings.Contains(why, tt.says) || tt.says == "" && why != "" {
			t.Errorf("%s: %d keys, %q, want %q (%s)", tt.name, e.keys.Load(), why, tt.says, tt.why)
		}
	}
}
