package endpoint

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"

	"surecut/internal/rdb"
)

// probedVersions are the RDB versions that a server is asked about: those of Redis, some of which do not exist yet, and those of
// Valkey since 9. unusedVersion lies in between and belongs to no server.
const (
	oldestProbed  = 6
	newestRedis   = 20
	unusedVersion = 60
	firstValkey   = 80
	newestValkey  = 90
)

// noType is a type number of values that no server uses.
const noType = 200

// AcceptedRDB determines, by trying, the highest RDB version whose payloads RESTORE accepts on a node: a fork may report another
// version than that of the format it reads. The payloads have a correct checksum and no value, so that a server refuses either the
// version or, after that, the content, and nothing is ever written. The result probed is false where the replies do not tell
// (RESTORE is forbidden, accepts any version, or is refused for another reason). Then the version is the one that releases of the
// server's number read.
func (d *Deployment) AcceptedRDB(ctx context.Context, addr string) (version int, probed bool, err error) {
	s, err := d.Server(ctx, addr)
	if err != nil {
		return 0, false, err
	}
	c, err := d.Client(ctx, addr, 0)
	if err != nil {
		return 0, false, err
	}
	key := d.probeKey(addr)
	damaged := rdb.AppendDump(nil, noType, nil, oldestProbed)
	damaged[len(damaged)-1] ^= 0xff
	versions := probedVersions()
	payloads := [][]byte{damaged}
	for _, v := range versions {
		payloads = append(payloads, rdb.AppendDump(nil, noType, nil, v))
	}
	cmds := make([]rueidis.Completed, len(payloads))
	for i, p := range payloads {
		cmds[i] = c.B().Arbitrary("RESTORE").Keys(key).Args("0", string(p)).Build()
	}
	replies := make([]error, len(cmds))
	for i, r := range c.DoMulti(ctx, cmds...) {
		if replies[i] = r.Error(); replies[i] != nil && Code(replies[i]) == "" {
			return 0, false, fmt.Errorf("RESTORE on %s: %w", addr, replies[i])
		}
	}
	if v, ok := judgeProbe(versions, replies[0], replies[1:]); ok {
		return v, true, nil
	}
	return s.RDBVersion, false, nil
}

// probedVersions returns the versions with unusedVersion first, and then from the highest down.
func probedVersions() []int {
	versions := []int{unusedVersion}
	for v := newestValkey; v >= firstValkey; v-- {
		versions = append(versions, v)
	}
	for v := newestRedis; v >= oldestProbed; v-- {
		versions = append(versions, v)
	}
	return versions
}

// judgeProbe finds the first version whose reply differs from the reply to a damaged payload. The wording of the replies does not
// matter.
func judgeProbe(versions []int, refused error, replies []error) (version int, ok bool) {
	if Code(refused) != "ERR" {
		return 0, false
	}
	for i, e := range replies {
		switch {
		case Code(e) != "ERR":
			return 0, false
		case e.Error() != refused.Error():
			return versions[i], versions[i] != unusedVersion
		}
	}
	return 0, false
}
