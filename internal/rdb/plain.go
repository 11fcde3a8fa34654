package rdb

import (
	"encoding/binary"
	"fmt"

	"surecut/internal/keyspace"
)

// Encode returns a value in the plain RDB encoding of its kind: strings, lists, sets, sorted sets with binary scores (since 4.0)
// and hashes, with the expiries of their fields where there are any (in the form of Redis 7.4). Streams and module values have no
// plain encoding.
func Encode(v *keyspace.Value) (rdbType byte, raw []byte, err error) {
	w := elementWriter{binaryScores: true}
	var n int
	switch v.Type {
	case keyspace.String:
		return TypeString, appendString(nil, v.Str), nil
	case keyspace.List:
		w.rdbType, n = TypeList, len(v.List)
	case keyspace.Set:
		w.rdbType, n = TypeSet, len(v.Set)
	case keyspace.ZSet:
		w.rdbType, n = TypeZSet2, len(v.ZSet)
	case keyspace.Hash:
		w.rdbType, n = TypeHash, len(v.Hash)
		for _, f := range v.Hash {
			if f.ExpireAt > 0 && (w.earliest == 0 || f.ExpireAt < w.earliest) {
				w.rdbType, w.earliest = TypeHashMetadata, f.ExpireAt
			}
		}
	default:
		return 0, nil, fmt.Errorf("a %s has no plain encoding", v.Type)
	}
	if w.rdbType == TypeHashMetadata {
		w.out = binary.LittleEndian.AppendUint64(w.out, uint64(w.earliest))
	}
	w.out = appendLength(w.out, uint64(n))
	for _, p := range v.List {
		_ = w.ListElement(p) // without a limit, none of these calls can fail
	}
	for _, p := range v.Set {
		_ = w.SetMember(p)
	}
	for _, m := range v.ZSet {
		_ = w.ZSetMember(m.Name, m.Score)
	}
	for _, f := range v.Hash {
		_ = w.HashField(f.Name, f.Value, f.ExpireAt)
	}
	return w.rdbType, w.out, nil
}
