//go:build servers

package compat

import (
	"fmt"
	"strings"
	"testing"

	"surecut/e2e/servers"
	"surecut/internal/profile"
)

// perNode are commands that a cluster runs on the node that is asked. prepare acts on the first node alone; ask, if there is one, must
// then answer other things on the first and on the second node.
var perNode = []struct {
	command, level string
	prepare        [][]string
	ask            []string
}{
	{"DBSIZE", "silent", [][]string{{"SET", "KEY", "1"}}, []string{"DBSIZE"}},
	{"KEYS", "silent", [][]string{{"SET", "KEY", "1"}}, []string{"KEYS", "*"}},
	{"SCAN", "silent", [][]string{{"SET", "KEY", "1"}}, []string{"SCAN", "0"}},
	{"RANDOMKEY", "silent", [][]string{{"SET", "KEY", "1"}}, []string{"RANDOMKEY"}},
	{"FLUSHDB", "silent", [][]string{{"SET", "KEY", "1"}, {"2", "SET", "KEY", "1"}, {"FLUSHDB"}}, []string{"DBSIZE"}},
	{"FLUSHALL", "silent", [][]string{{"SET", "KEY", "1"}, {"2", "SET", "KEY", "1"}, {"FLUSHALL"}}, []string{"DBSIZE"}},
	{"SCRIPT LOAD", "silent", [][]string{{"SCRIPT", "LOAD", "return 1"}}, []string{"EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "0"}},
	{"SCRIPT EXISTS", "silent", [][]string{{"SCRIPT", "LOAD", "return 1"}}, []string{"SCRIPT", "EXISTS", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"}},
	{"SCRIPT FLUSH", "silent", [][]string{{"SCRIPT", "LOAD", "return 1"}, {"2", "SCRIPT", "LOAD", "return 1"}, {"SCRIPT", "FLUSH"}},
		[]string{"SCRIPT", "EXISTS", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"}},
	{"FUNCTION LOAD", "silent", [][]string{{"FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function() return 1 end)"}}, []string{"FCALL", "f", "0"}},
	{"PUBSUB CHANNELS", "silent", [][]string{{"SUBSCRIBE", "news"}}, []string{"PUBSUB", "CHANNELS"}},
	{"PUBSUB NUMSUB", "silent", [][]string{{"SUBSCRIBE", "news"}}, []string{"PUBSUB", "NUMSUB", "news"}},
	{"PUBSUB NUMPAT", "silent", [][]string{{"PSUBSCRIBE", "n*"}}, []string{"PUBSUB", "NUMPAT"}},
	{"CONFIG SET", "info", [][]string{{"CONFIG", "SET", "maxmemory-samples", "7"}}, []string{"CONFIG", "GET", "maxmemory-samples"}},
	{"ACL SETUSER", "info", [][]string{{"ACL", "SETUSER", "someone"}}, []string{"ACL", "USERS"}},
	{"SLOWLOG", "info", [][]string{{"2", "CONFIG", "SET", "slowlog-log-slower-than", "-1"}, {"2", "SLOWLOG", "RESET"}, {"CONFIG", "SET", "slowlog-log-slower-than", "0"}}, []string{"SLOWLOG", "LEN"}},
}

// TestPerNodeOnServers: what the rules call silent, or a matter of one node, is that on real clusters: nothing is refused, and the
// second node knows nothing of what was done to the first.
func TestPerNodeOnServers(t *testing.T) {
	p, err := profile.Get("cluster")
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range []string{"redis:7.0", "redis:8.0"} {
		servers.Require(t, image)
		nodes := servers.Cluster(t, image, 3, 0)
		keys := []string{"b", "a"} // slots 3300 and 15495, of the first and the last node
		at := []*servers.Server{nodes[0], nodes[2]}
		for _, tt := range perNode {
			t.Run(image+"/"+tt.command, func(t *testing.T) {
				if r := p.Rule(profile.Called, tt.command, 0); r == nil || string(r.Level) != tt.level {
					t.Errorf("the rule is %+v, want level %s", r, tt.level)
				}
				var open []*rawConn
				for _, words := range tt.prepare {
					node := 0
					if words[0] == "2" {
						node, words = 1, words[1:]
					}
					conn := dialRaw(t, at[node].Addr)
					open = append(open, conn)
					if reply := conn.do(strings.Split(strings.ReplaceAll(strings.Join(words, "\x00"), "KEY", keys[node]), "\x00")); reply != "" {
						t.Errorf("%q: %s, want no error", words, reply)
					}
				}
				first, second := fmt.Sprint(at[0].Do(tt.ask...).ToAny()), fmt.Sprint(at[1].Do(tt.ask...).ToAny())
				if first == second {
					t.Errorf("%q: both nodes answer %s", tt.ask, first)
				}
				for _, conn := range open {
					conn.Close()
				}
				for _, node := range at {
					node.Must("FLUSHALL")
					node.Must("SCRIPT", "FLUSH")
				}
			})
		}
	}
}
