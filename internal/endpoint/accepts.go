package endpoint

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"

	"surecut/internal/rdb"
)

// probedVersions are the RDB versions that a server is asked about: those of Redis, of which some are yet to come, and
// those of Valkey from 9 on. unusedVersion lies between and is nobody's.
const (
	oldestProbed  = 6
	newestRedis   = 20
	unusedVersion = 60
	firstValkey   = 80
	newestValkey  = 90
)

// noType is the number of no type of values, on no server.
const noType = 200

// AcceptedRDB gives the highest RDB version whose payloads RESTORE takes on a node, by trying: a fork may say another
// version of itself than the format that it reads. What it tries has the right checksum and no value, so that a server
// refuses either the version or, behind it, the content: nothing is ever written. probed is false where the node tells nothing
// that way (RESTORE is forbidden, or it takes any version, or refuses for another reason); then the version is the one
// that releases of its number read.
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

// probedVersions puts unusedVersion first, and then the highest.
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

// judgeProbe finds the first version whose reply is another than that to a damaged payload. The words of the replies do not
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
