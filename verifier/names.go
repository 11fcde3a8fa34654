package verifier

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"surecut/internal/keyspace"
	"surecut/internal/reply"
)

const (
	quotedName = 200      // bytes of a long name that a report quotes
	exactName  = 1 << 10  // bytes of the longest name that a report holds exactly
	keptNames  = 16 << 20 // bytes of long names that are kept in memory at a time
)

// longNames are a key's names on both sides, which are too long for a report.
type longNames struct{ source, target string }

// setNames puts the names of a key into the finding. Of a long name it puts in the beginning, the length and the digest.
func (f *Finding) setNames(source, target string) {
	f.Key, f.KeyBase64, f.KeyLength, f.KeyDigest = quoteName(source)
	if source != target {
		f.TargetKey, f.TargetKeyBase64, _, _ = quoteName(target)
	}
}

func quoteName(name string) (quoted, exact string, length int64, digest string) {
	if quoted = keyspace.Printable(name[:min(len(name), quotedName)]); len(name) > quotedName {
		quoted += "…"
	}
	if len(name) <= exactName {
		return quoted, base64.StdEncoding.EncodeToString([]byte(name)), 0, ""
	}
	return quoted, "", int64(len(name)), hex16(xxhash.Sum64String(name))
}

// IsLong says that the report does not hold the whole name of the key.
func (f *Finding) IsLong() bool {
	return f.KeyLength > 0 || f.TargetKey != "" && f.TargetKeyBase64 == ""
}

// Named says whether the exact name of the key is known. A long name is known only while it is kept in memory, and not in a report.
func (f *Finding) Named() bool { return !f.IsLong() || f.long != nil }

// keyOf returns the exact name of a finding's key on the source. The finding must be Named.
func keyOf(f *Finding) string {
	if f.long != nil {
		return f.long.source
	}
	name, err := base64.StdEncoding.DecodeString(f.KeyBase64)
	if err != nil {
		return f.Key
	}
	return string(name)
}

// targetName returns the exact name of the key on the target. The finding must be Named.
func (f *Finding) targetName() string {
	switch {
	case f.long != nil:
		return f.long.target
	case f.TargetKeyBase64 == "":
		return keyOf(f)
	}
	name, err := base64.StdEncoding.DecodeString(f.TargetKeyBase64)
	if err != nil {
		return f.TargetKey
	}
	return string(name)
}

// sortName returns what findings are ordered by: the name on the target, or for a long name its beginning and digest.
func (f *Finding) sortName() string {
	switch {
	case !f.IsLong():
		return f.targetName()
	case f.TargetKey != "":
		return f.TargetKey + f.KeyDigest
	}
	return f.Key + f.KeyDigest
}

// Name returns the key as the source names it. Its database is below 0 where no database of the source is mapped to the target's.
// The finding must be Named.
func (f *Finding) Name() keyspace.Key {
	if f.Unmapped {
		return keyspace.Key{DB: -1, Name: keyOf(f)}
	}
	return keyspace.Key{DB: f.DB, Name: keyOf(f)}
}

// namedBy is what a report says of a key with a long name.
type namedBy struct {
	db     int // of the target
	length int64
	digest string
	prefix string // that the name has on the target: databases of the source may hold keys of one name
}

// findLong looks for the keys of findings whose names a report does not hold completely. It scans the names of both sides, because
// some keys are only on one of them, and finds as many as may be kept in memory at a time.
func (p *repairer) findLong(ctx context.Context, findings []Finding) error {
	wanted := map[namedBy]*Finding{}
	for i := range findings {
		if f := &findings[i]; !f.Named() {
			wanted[namedBy{f.TargetDB, f.KeyLength, f.KeyDigest, prefixOf(f)}] = f
		}
	}
	room := keptNames
	take := func(db int, source, target string) {
		if len(source) > room {
			return
		}
		_, _, length, digest := quoteName(source)
		at := namedBy{db, length, digest, strings.TrimSuffix(target, source)}
		if f := wanted[at]; f != nil {
			f.long = &longNames{source, target}
			room -= len(source)
			delete(wanted, at)
		}
	}
	if len(wanted) > 0 && !p.source.isFile() {
		err := p.source.eachName(ctx, func(db int, name string) {
			if id, ok := p.source.compared(db, name); ok && max(len(name), len(id.name)) > exactName {
				take(id.pairDB, name, id.name)
			}
		})
		if err != nil {
			return err
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	return p.target.eachName(ctx, func(db int, name string) {
		if len(name) <= exactName {
			return
		}
		take(db, name, name)
		for _, prefix := range p.cfg.mapping.DBPrefix {
			if source, ok := strings.CutPrefix(name, prefix); ok && prefix != "" {
				take(db, source, name)
			}
		}
	})
}

// eachName passes on the names of all keys of a side, one node after the other.
func (s *side) eachName(ctx context.Context, give func(db int, name string)) error {
	for _, n := range s.known() {
		dbs, _, err := n.keyspace(ctx)
		if err != nil {
			return err
		}
		for db := range dbs {
			if err := s.namesIn(ctx, n, db, give); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *side) namesIn(ctx context.Context, n *node, db int, give func(db int, name string)) error {
	r := s.borrow(n, db)
	defer s.giveBack(r)
	pages := newPager(unknownSize, -1, batchBytes)
	for cursor := "0"; ; {
		next, names, err := r.scanNames(ctx, cursor, pages)
		if err != nil {
			return err
		}
		for _, name := range names {
			give(db, name)
		}
		if cursor = next; cursor == "0" {
			return nil
		}
	}
}

// scanNames reads a page of SCAN.
func (c *conn) scanNames(ctx context.Context, cursor string, pages *pager) (next string, names []string, err error) {
	m, err := c.askOne(ctx, batchBytes, "SCAN", cursor, "COUNT", strconv.Itoa(min(pages.size, batchKeys)))
	if err != nil {
		return "", nil, err
	}
	next, page, err := reply.Scan(&m)
	if err != nil {
		return "", nil, err
	}
	if names, err = reply.Texts(page); err == nil {
		pages.took(page, len(page))
	}
	return next, names, err
}

// prefixOf finds the prefix that the names of a source database get on the target, by comparing the two names of one key. Of long
// names it compares the beginnings.
func prefixOf(f *Finding) string {
	if !f.IsLong() {
		p, _ := strings.CutSuffix(f.targetName(), keyOf(f))
		if p == f.targetName() && keyOf(f) != "" {
			return ""
		}
		return p
	}
	target, source := strings.TrimSuffix(f.TargetKey, "…"), strings.TrimSuffix(f.Key, "…")
	for i := range target {
		if strings.HasPrefix(source, target[i:]) {
			if p, err := strconv.Unquote(`"` + target[:i] + `"`); err == nil {
				return p
			}
		}
	}
	return ""
}
