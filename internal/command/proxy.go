package command

import "strings"

// twemproxyKnows is what nutcracker 0.5 passes on; at any other command it closes the connection. An older one knows fewer.
const twemproxyKnows = "DEL UNLINK TOUCH DUMP EXISTS EXPIRE EXPIREAT PERSIST PEXPIRE PEXPIREAT PTTL RESTORE SORT TTL TYPE COPY " +
	"APPEND BITCOUNT BITFIELD BITPOS DECR DECRBY GET GETBIT GETDEL GETEX GETRANGE GETSET INCR INCRBY INCRBYFLOAT MGET MSET PSETEX SET " +
	"SETBIT SETEX SETNX SETRANGE STRLEN HDEL HEXISTS HGET HGETALL HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HSET HSETNX HVALS HSCAN " +
	"HSTRLEN LINDEX LINSERT LLEN LMOVE LPOP LPOS LPUSH LPUSHX LRANGE LREM LSET LTRIM RPOP RPOPLPUSH RPUSH RPUSHX SADD SCARD SDIFF " +
	"SDIFFSTORE SINTER SINTERSTORE SISMEMBER SMEMBERS SMISMEMBER SMOVE SPOP SRANDMEMBER SREM SSCAN SUNION SUNIONSTORE ZADD ZCARD ZCOUNT " +
	"ZDIFF ZDIFFSTORE ZINCRBY ZINTER ZINTERSTORE ZLEXCOUNT ZMSCORE ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE " +
	"ZRANGESTORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN " +
	"ZSCORE ZUNION ZUNIONSTORE PFADD PFCOUNT PFMERGE GEOADD GEODIST GEOHASH GEOPOS GEORADIUS GEORADIUSBYMEMBER GEOSEARCH GEOSEARCHSTORE EVAL EVALSHA"

// codisRefuses is what codis-proxy 3.2 answers with an error.
const codisRefuses = "ASKING BGREWRITEAOF BGSAVE BITOP BLPOP BRPOP BRPOPLPUSH CLIENT CLUSTER CONFIG DBSIZE DEBUG DISCARD EXEC FLUSHALL " +
	"FLUSHDB KEYS LASTSAVE LATENCY MIGRATE MONITOR MOVE MSETNX MULTI OBJECT PSUBSCRIBE PSYNC PUBLISH PUNSUBSCRIBE RANDOMKEY READONLY " +
	"READWRITE RENAME RENAMENX REPLCONF RESTORE RESTORE-ASKING SAVE SCAN SCRIPT SHUTDOWN SLAVEOF SLOWLOG SUBSCRIBE SYNC TIME UNSUBSCRIBE " +
	"UNWATCH WAIT WATCH SPUBLISH SWAPDB FUNCTION FCALL"

// ThroughTwemproxy is what a server understands when it is spoken to through nutcracker. Options that only 0.5 takes are
// not among it.
func (d *Dialect) ThroughTwemproxy() *Dialect {
	only := NewDialect(strings.Fields(twemproxyKnows), Forms())
	for _, f := range []Form{Replace, AbsTTL, PushMany, PopCount} {
		only.forms[f] = false
	}
	return d.Common(only)
}

// ThroughCodis is what a server understands when it is spoken to through codis-proxy.
func (d *Dialect) ThroughCodis() *Dialect {
	refused := map[string]bool{}
	for name := range strings.FieldsSeq(codisRefuses) {
		refused[name] = true
	}
	var names []string
	for name := range d.names {
		if !refused[name] {
			names = append(names, name)
		}
	}
	var has []Form
	for f := range forms {
		if d.forms[f] && f != Replace && f != AbsTTL {
			has = append(has, f)
		}
	}
	return NewDialect(names, has)
}

// ClusterProxy is what a proxy before a Redis Cluster does otherwise than a node of it.
type ClusterProxy struct {
	across map[string]bool
}

// AcrossSlots says whether the proxy takes a command whose keys lie in several slots, and runs it piece by piece.
func (p *ClusterProxy) AcrossSlots(name string) bool { return p.across[strings.ToUpper(name)] }

// clusterProxies: a transaction has to begin with WATCH of one of its keys, and lives in one slot. Of Tencent the list is that
// of 2026; before, UNLINK was not on it.
var clusterProxies = map[string]string{"tencent": "DEL EXISTS MGET MSET UNLINK"}

// ProxyOf gives a proxy by the name that URLs give it; nil where it is not known.
func ProxyOf(name string) *ClusterProxy {
	across, known := clusterProxies[name]
	if !known {
		return nil
	}
	p := &ClusterProxy{across: map[string]bool{}}
	for c := range strings.FieldsSeq(across) {
		p.across[c] = true
	}
	return p
}
