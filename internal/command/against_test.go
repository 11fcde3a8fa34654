package command

import (
	"fmt"
	"strings"
	"testing"

	"surecut/internal/profile"
)

func TestAgainst(t *testing.T) {
	for _, tt := range []struct{ kind, name, want, why string }{
		{"cluster", "GET", "", "one key"},
		{"cluster", "MGET", "cross-slot?", "its keys were not seen"},
		{"cluster", "EXEC", "transaction?", ""},
		{"cluster", "EVAL", "cross-slot? script-keys? script-no-keys?", ""},
		{"cluster", "SWAPDB", "database", "refused whatever it says"},
		{"cluster", "SELECT", "", "which databases are used is told elsewhere"},
		{"cluster", "SCRIPT LOAD", "scripts-per-node", ""},
		{"cluster", "SCRIPT", "scripts-per-node?", "before 7.0 nobody tells which"},
		{"cluster", "KEYS", "per-node", ""},
		{"twemproxy", "CLIENT", "refused?", "CLIENT LIST is less than CLIENT SETNAME"},
		{"twemproxy", "CLIENT SETNAME", "refused", ""},
		{"twemproxy", "XADD", "refused", ""},
		{"twemproxy", "SUNIONSTORE", "unchecked?", ""},
		{"twemproxy", "ACME.DO", "refused", "unknown to all"},
		{"codis", "LMPOP", "misrouted unchecked?", "its first argument is a number"},
		{"codis", "ACME.DO", "", "unknown, and routed by its first argument as any other"},
		{"codis", "OBJECT", "refused", "all of its subcommands fare alike"},
		{"codis", "EXEC", "refused", ""},
		{"cluster", "NO SUCH", "", ""},
		{"cluster", "", "", ""},
	} {
		p, err := profile.Get(tt.kind)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range Against(p, tt.name, 0) {
			got = append(got, fmt.Sprint(c.Rule.ID, map[bool]string{false: "?"}[c.Sure]))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s against %s: %q, want %q (%s)", tt.kind, tt.name, got, tt.want, tt.why)
		}
	}
}
