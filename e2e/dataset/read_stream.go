package dataset

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/redis/rueidis"
)

// readStream reads a stream by the commands of 5.0. They tell of a pending message when it was delivered by its age alone, which
// is left out; so are consumers without one.
func (v *value) readStream(ctx context.Context, c rueidis.Client, key string) error {
	ask := func(words []string, args ...string) (any, error) {
		return c.Do(ctx, c.B().Arbitrary(words...).Keys(key).Args(args...).Build()).ToAny()
	}
	reply, err := ask([]string{"XINFO", "STREAM"})
	if gone(err) {
		*v = value{} // it expired between TYPE and this
		return nil
	}
	if err != nil {
		return err
	}
	info := flatMap(reply)
	v.add("length %v, last %v", info["length"], info["last-generated-id"])
	if reply, err = ask([]string{"XRANGE"}, "-", "+"); err != nil {
		return err
	}
	for _, e := range list(reply) {
		v.add("entry %s", render(e))
	}
	groups, err := ask([]string{"XINFO", "GROUPS"})
	if err != nil {
		return err
	}
	for _, g := range list(groups) {
		group := flatMap(g)
		name := hex.EncodeToString([]byte(fmt.Sprint(group["name"])))
		v.add("group %s: last %v, pending %v", name, group["last-delivered-id"], group["pending"])
		if reply, err = ask([]string{"XPENDING"}, fmt.Sprint(group["name"]), "-", "+", "1000000"); err != nil {
			return err
		}
		for _, p := range list(reply) {
			if facts := list(p); len(facts) == 4 {
				v.add("group %s: pending %v of %v, %v deliveries", name, facts[0], facts[1], facts[3])
			}
		}
	}
	return nil
}
