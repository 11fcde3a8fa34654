package command

import (
	"bytes"
	"testing"
)

func TestAbsolute(t *testing.T) {
	for line, want := range map[string]bool{
		"SET k v": true, "set k v keepttl": true, "SET k v PXAT 5": true, "SET k v EXAT 5": true,
		"SET k v PX 5": false, "SET k v NX": false, "SET k v GET": false, "SET k v IFEQ w": false, "SET k v XX PXAT 5": false,
		"MSET a 1 b 2": true, "MSETNX a 1": false, "SETNX k v": false, "GETSET k v": false, "SETEX k 5 v": false,
		"DEL a b": true, "UNLINK a": true, "GETDEL a": false,
		"HSET h f v": true, "HMSET h f v g w": true, "HSETNX h f v": false, "HSETEX h FIELDS 1 f v": false, "HINCRBY h f 1": false,
		"HDEL h f": false, "SREM s m": false, "ZREM z m": false, "SPOP s": false, "LSET l 0 v": false, "RPUSH l v": false, "LTRIM l 0 1": false,
		"SADD s m n": true, "SMOVE s t m": false, "SUNIONSTORE d a": false, "PFADD p e": false, "XADD x 1-1 f v": false,
		"ZADD z 1 m": true, "ZADD z +inf m -inf n": true, "ZADD z NX 1 m": false, "zadd z ch 1 m": false, "ZADD z INCR 1 m": false, "ZADD z GT 1 m": false, "ZINCRBY z 1 m": false,
		"SETRANGE k 3 v": true, "SETBIT k 3 1": true, "APPEND k v": false, "INCR k": false, "BITFIELD k SET u8 0 1": false,
		"PEXPIREAT k 5": true, "EXPIREAT k 5": true, "PEXPIREAT k 5 NX": false, "EXPIRE k 5": false, "PERSIST k": true, "HPERSIST h FIELDS 1 f": false,
		"RESTORE k 0 p REPLACE": true, "RESTORE k 5 p REPLACE ABSTTL": true, "RESTORE k 5 p replace absttl IDLETIME 4": true,
		"RESTORE k 0 p": false, "RESTORE k 5 p REPLACE": false, "RESTORE k 5 p ABSTTL": false,
		"RENAME a b": false, "EVAL s 1 k": false, "FLUSHALL": false, "SWAPDB 0 1": false, "PUBLISH c m": false, "GEOADD g 1 1 m": false,
	} {
		args := bytes.Fields([]byte(line))
		s, ok := Lookup(args)
		if !ok {
			t.Fatalf("%s is not in the table", line)
		}
		if got := s.Absolute(args); got != want {
			t.Errorf("%s: absolute %v, want %v", line, got, want)
		}
	}
	for _, s := range All() {
		if _, ok := absoluteRules[s.Name]; ok && !s.Write {
			t.Errorf("%s writes nothing", s.Name)
		}
	}
}
