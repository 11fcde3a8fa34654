//go:build servers

package reread

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// TestReadOnSource: presence, value and expiry of keys of several databases, each with its own.
func TestReadOnSource(t *testing.T) {
	t.Parallel()
	for _, v := range []string{"redis:6.0", "redis:8.0"} {
		source := servers.Standalone(t, v)
		d := endpointtest.Open(t, source.URL())
		s := NewReader(d, func() string { return source.Addr }, 0, &keyspace.Filter{})
		c := source.Client(3)
		at := time.Now().Add(time.Hour)
		for _, line := range []string{"SET a 1", "SET b 2", "SET c 3", "RPUSH list x"} {
			if err := c.Do(t.Context(), c.B().Arbitrary(strings.Fields(line)...).Build()).Error(); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Do(t.Context(), c.B().Arbitrary("PEXPIREAT", "b", fmt.Sprint(at.UnixMilli())).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		source.Must("SET", "a", "0")
		source.Must("PEXPIREAT", "a", fmt.Sprint(at.UnixMilli()))
		keys := []keyspace.Key{{DB: 0, Name: "a"}, {DB: 3, Name: "a"}, {DB: 3, Name: "b"}, {DB: 0, Name: "none"}, {DB: 3, Name: "list"}, {DB: 5, Name: "a"}, {DB: 0, Name: "a"}}
		for _, values := range []bool{false, true} {
			got, err := s.Read(t.Context(), keys, values, 0)
			if err != nil || len(got) != len(keys) {
				t.Fatal(len(got), err)
			}
			for i, k := range got {
				present, expires := i != 3 && i != 5, i == 0 || i == 2 || i == 6
				if k.Key != keys[i] || k.Present != present || (len(k.Payload) > 0) != (present && values) {
					t.Errorf("%s, values %v: key %d is %+v", v, values, i, k)
				}
				if drift := k.ExpireAt - at.UnixMilli(); (k.ExpireAt > 0) != expires || expires && (drift < -1000 || drift > 1000) {
					t.Errorf("%s, values %v: key %d expires at %d, %d ms off", v, values, i, k.ExpireAt, drift)
				}
			}
		}
	}
}
