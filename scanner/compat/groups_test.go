package compat

import (
	"fmt"
	"strings"
	"testing"

	"surecut/internal/keyspace"
)

func TestGroups(t *testing.T) {
	for _, tt := range []struct {
		name, want, why string
		calls           [][]string
	}{
		{"one part in common", "variable user:#:mail=user:{#}:mail user:#:name=user:{#}:name", "",
			[][]string{{"MGET", "user:1:name", "user:1:mail"}, {"MGET", "user:2:name", "user:2:mail"}}},
		{"another part in common", "variable order:#:#=order:#:{#} user:#=user:{#}", "the first number of an order is its year",
			[][]string{{"MGET", "user:1", "order:2024:1"}, {"MGET", "user:2", "order:2024:2"}}},
		{"three in a row", "variable a:#=a:{#} b:#=b:{#} c:#=c:{#}", "joined through b",
			[][]string{{"MGET", "a:1", "b:1"}, {"MGET", "b:2", "c:2"}, {"MGET", "a:3", "b:3"}}},
		{"a tag is there already", "variable cart:#={user:#}:cart:# {user:#}:name={user:#}:name", "the others are made like it",
			[][]string{{"MGET", "{user:1}:name", "cart:1"}, {"MGET", "{user:2}:name", "cart:2"}}},
		{"one joined with all", "variable config= user:#:mail=user:{#}:mail user:#:name=user:{#}:name", "no tag helps it, the others have one",
			[][]string{{"MGET", "user:1:name", "user:1:mail"}, {"MGET", "config", "user:1:name"}, {"MGET", "config", "user:2:name"}, {"MGET", "user:2:name", "user:2:mail"}}},
		{"few keys", "constant stats:day={stats}:day stats:hour={stats}:hour", "nothing varies",
			[][]string{{"MGET", "stats:day", "stats:hour"}}},
		{"nothing in common", "constant a:#={a}:# b:#={a}:b:#", "few keys were seen",
			[][]string{{"MGET", "a:1", "b:2"}, {"MGET", "a:2", "b:1"}}},
		{"transaction", "variable from:#=from:{#} to:#=to:{#}", "",
			[][]string{{"MULTI"}, {"SET", "from:1", "x"}, {"SET", "to:1", "x"}, {"EXEC"}, {"MULTI"}, {"SET", "from:2", "x"}, {"SET", "to:2", "x"}, {"EXEC"}}},
		{"script", "variable in:#=in:{#} out:#=out:{#}", "what it touched counts",
			[][]string{{"EVAL", "x", "1", "in:1"}, {"lua", "SET", "out:1", "x"}, {"EVAL", "x", "1", "in:2"}, {"lua", "SET", "out:2", "x"}}},
		{"alone", "", "", [][]string{{"GET", "a:1"}, {"MGET", "a:1", "a:1"}}},
	} {
		ta := newClusterTally(t)
		feed(ta, tt.calls)
		var got []string
		for _, g := range ta.Result().KeyGroups {
			line := g.Tag
			for _, tpl := range g.Templates {
				line += " " + tpl.Template + "=" + tpl.Tagged
			}
			got = append(got, line)
		}
		if s := strings.Join(got, "; "); s != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s (%s)", tt.name, s, tt.want, tt.why)
		}
	}
}

// TestGroupThatNoTagHelps: many keys with nothing in common would all go to one slot.
func TestGroupThatNoTagHelps(t *testing.T) {
	ta := newClusterTally(t)
	var calls [][]string
	for i := range smallGroup {
		calls = append(calls, []string{"MGET", fmt.Sprint("user:", i), fmt.Sprint("user:", i+1000)})
	}
	feed(ta, calls)
	g := ta.Result().KeyGroups
	if len(g) != 1 || g[0].Tag != TagNone || g[0].Templates[0].Tagged != "" || g[0].Templates[0].Why == "" || !strings.Contains(g[0].Note, "200 keys") {
		t.Errorf("%+v", g)
	}
}

// TestHub: what alone holds many others together is named; the others need no tag.
func TestHub(t *testing.T) {
	ta := newClusterTally(t)
	var calls [][]string
	for i := range smallGroup + 10 {
		calls = append(calls, []string{"MGET", "config", fmt.Sprint("lock:", i)})
	}
	feed(ta, calls)
	g := ta.Result().KeyGroups
	if len(g) != 1 || g[0].Tag != TagNone || g[0].Templates[0].Why == "" || g[0].Templates[1].Tagged != "lock:#" || g[0].Templates[1].Why != "" {
		t.Errorf("%+v", g)
	}
}

// TestRetag: keys that were used together get one slot, and no two keys get one name.
func TestRetag(t *testing.T) {
	ta := newClusterTally(t)
	var calls [][]string
	for i := range 50 {
		calls = append(calls, []string{"MGET", fmt.Sprintf("user:%d:name", i), fmt.Sprintf("order:2024:%d", i), fmt.Sprintf("s:%032x", i+1<<40)})
		calls[i][3] = fmt.Sprintf("cart:%d", i)
	}
	feed(ta, calls)
	r := ta.Result()
	names := map[string]bool{}
	for _, c := range calls {
		slot := keyspace.Slot(r.Retag(c[1]))
		for _, k := range c[1:] {
			tagged := r.Retag(k)
			if keyspace.Slot(tagged) != slot {
				t.Errorf("%s lies elsewhere than %s", tagged, r.Retag(c[1]))
			}
			if names[tagged] {
				t.Errorf("%s is the name of two keys", tagged)
			}
			names[tagged] = true
		}
	}
	if k := "nobody:speaks:of:it"; r.Retag(k) != k {
		t.Errorf("%s became %s", k, r.Retag(k))
	}
}

// TestSkew: what the tags would make of all keys.
func TestSkew(t *testing.T) {
	ta := newClusterTally(t)
	feed(ta, [][]string{{"MGET", "user:1:name", "user:1:mail"}, {"MGET", "user:2:name", "user:2:mail"}})
	r := ta.Result()
	if s := r.KeyGroups[0].Skew; s == nil || s.From != "calls" || s.Keys != 4 || s.Tags != 2 || s.LargestKeys != 2 || s.MaxSlotShare != 0.5 {
		t.Errorf("%+v", s)
	}
	m := r.Measure("bigkeys")
	for i := range 100 {
		m.Add(fmt.Sprintf("user:%d:name", i), 10)
	}
	m.Add("user:7:mail", 5000)
	m.Add("other", 1)
	m.Apply(r)
	if s := r.KeyGroups[0].Skew; s.From != "bigkeys" || s.Keys != 101 || s.Bytes != 6000 || s.Tags != 100 || s.LargestTag != "7" || s.LargestKeys != 2 || s.LargestBytes != 5010 {
		t.Errorf("%+v", s)
	}
}
