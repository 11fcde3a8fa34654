package rdb

import (
	"math"

	"surecut/internal/keyspace"
)

// These are the numbers of the types of values in RDBs and DUMP payloads. The table types holds what is known about each.
const (
	TypeString          = 0
	TypeList            = 1
	TypeSet             = 2
	TypeZSet            = 3 // scores as text
	TypeHash            = 4
	TypeZSet2           = 5 // scores as IEEE 754
	TypeModulePreGA     = 6
	TypeModule          = 7
	TypeHashZipmap      = 9
	TypeListZiplist     = 10
	TypeSetIntset       = 11
	TypeZSetZiplist     = 12
	TypeHashZiplist     = 13
	TypeQuicklist       = 14
	TypeStream          = 15
	TypeHashListpack    = 16
	TypeZSetListpack    = 17
	TypeQuicklist2      = 18
	TypeStream2         = 19
	TypeSetListpack     = 20
	TypeStream3         = 21
	TypeValkeyHash2     = 22 // Redis used this number in a release candidate of 7.4
	TypeHashListpackPre = 23
	TypeHashMetadata    = 24
	TypeHashListpackEx  = 25
)

// These are the RDB versions that introduced new types in Redis. Redis 2.8 reads version 6. Valkey writes version 11 up to 8.1, and
// counts from 80 since 9.0.
const (
	redis3_2 = 7
	redis4_0 = 8
	redis5_0 = 9
	redis7_0 = 10
	redis7_2 = 11
	redis7_4 = 12

	valkeyVersion = 80
	never         = math.MaxInt
)

// types is the table of all value types. A new type is a new row here, and a new layout only if no existing one fits. The number of
// a row is its index, so that two rows with the same number do not compile.
var types = [...]ValueType{
	TypeString: {Of: keyspace.String, layout: plain{}},
	TypeList:   {Of: keyspace.List, layout: &counted{strings: 1, one: (*decoder).listElement}, Memory: linkedList},
	TypeSet:    {Of: keyspace.Set, layout: &counted{strings: 1, one: (*decoder).setMember}, Memory: hashTable},
	TypeZSet:   {Of: keyspace.ZSet, layout: &counted{strings: 1, tail: textScore, one: (*decoder).memberTextScore}, Memory: skipList},
	TypeHash:   {Of: keyspace.Hash, layout: &counted{strings: 2, one: (*decoder).field}, Memory: hashTable},
	TypeZSet2: {Of: keyspace.ZSet, layout: &counted{strings: 1, tail: binaryScore, one: (*decoder).memberBinaryScore}, redis: redis4_0,
		Memory: skipList},
	TypeModulePreGA: {Of: keyspace.Module, refused: "(module value of a 4.0 release candidate) cannot be read"},
	TypeModule:      {Of: keyspace.Module, layout: module{}, redis: redis4_0},
	TypeHashZipmap:  {Of: keyspace.Hash, layout: zipmap{}, Memory: Memory{Encoding: "zipmap"}},
	TypeListZiplist: {Of: keyspace.List, layout: &blob{in: &ziplists, per: 1, elements: listElements}, Memory: quickList("ziplist")},
	TypeSetIntset:   {Of: keyspace.Set, layout: intset{}, Memory: Memory{Encoding: "intset"}},
	TypeZSetZiplist: {Of: keyspace.ZSet, layout: &blob{in: &ziplists, per: 2, elements: scoredMembers}, Memory: Memory{Encoding: "ziplist"}},
	TypeHashZiplist: {Of: keyspace.Hash, layout: &blob{in: &ziplists, per: 2, elements: hashFields}, Memory: Memory{Encoding: "ziplist"}},
	TypeQuicklist:   {Of: keyspace.List, layout: &nodes{in: &ziplists}, redis: redis3_2, Memory: quickList("quicklist")},
	TypeStream:      {Of: keyspace.Stream, layout: &stream{}, redis: redis5_0, Memory: Memory{Encoding: "stream"}},
	TypeHashListpack: {Of: keyspace.Hash, layout: &blob{in: &listpacks, per: 2, elements: hashFields}, redis: redis7_0,
		Memory: Memory{Encoding: "listpack"}},
	TypeZSetListpack: {Of: keyspace.ZSet, layout: &blob{in: &listpacks, per: 2, elements: scoredMembers}, redis: redis7_0,
		Memory: Memory{Encoding: "listpack"}},
	TypeQuicklist2: {Of: keyspace.List, layout: &nodes{in: &listpacks, containers: true}, redis: redis7_0, Memory: quickList("quicklist")},
	TypeStream2: {Of: keyspace.Stream, layout: &stream{counters: true}, redis: redis7_0, Memory: Memory{Encoding: "stream"},
		Loses: "the counters of entries and of groups, and without the times when consumers were active"},
	TypeSetListpack: {Of: keyspace.Set, layout: &blob{in: &listpacks, per: 1, elements: setMembers}, redis: redis7_2,
		Memory: Memory{Encoding: "listpack"}},
	TypeStream3: {Of: keyspace.Stream, layout: &stream{counters: true, active: true}, redis: redis7_2, Memory: Memory{Encoding: "stream"},
		Loses: "the times when consumers were active"},
	TypeValkeyHash2: {Of: keyspace.Hash, layout: &counted{strings: 2, tail: fieldExpiry, one: (*decoder).valkeyField}, redis: never,
		valkey: valkeyVersion, FieldsExpire: true, Memory: hashTable, refused: "(hash with field TTLs of a 7.4 release candidate) cannot be read"},
	TypeHashListpackPre: {Of: keyspace.Hash, refused: "(hash with field TTLs of a 7.4 release candidate) cannot be read"},
	TypeHashMetadata: {Of: keyspace.Hash, layout: &counted{relative: true, strings: 2, one: (*decoder).metadataField}, redis: redis7_4,
		valkey: never, FieldsExpire: true, Memory: hashTable},
	TypeHashListpackEx: {Of: keyspace.Hash, layout: &blob{earliest: true, in: &listpacks, per: 3, elements: hashFieldsWithTTL}, redis: redis7_4,
		valkey: never, FieldsExpire: true, Memory: Memory{Encoding: "listpackex", Fixed: 24}},
	26: {refused: "(stream of Redis 8.6 or later) is not supported"},
	27: {refused: "(stream of Redis 8.6 or later) is not supported"},
}

// ValueType is a row of the table: everything that is known about the values with one type number.
type ValueType struct {
	Of           keyspace.Type // type that the TYPE command returns
	FieldsExpire bool          // the fields of the hash may have expiries
	Loses        string        // what re-encoding leaves out, to be read after "re-encoded without"
	Memory       Memory

	layout        layout // nil if values of the type cannot be read
	redis, valkey int    // the first RDB version that has the type; 0 stands for 2.8 and for every Valkey
	refused       string // why values are not read; if there is a layout, this applies only to values of Redis
}

// Memory says how a 64-bit server holds a value of a type, in bytes and without the object itself.
type Memory struct {
	Encoding    string // name in OBJECT ENCODING
	Fixed       int64
	PerElement  int64
	PerNode     int64 // for each node of a quicklist
	PerExpiring int64 // for each field that expires
	Table       bool  // a hash table is used to find the elements
	Strings     bool  // each string of an element is allocated separately; otherwise the elements are packed
}

// These are the structures in which servers hold elements that are not all packed together.
var (
	linkedList = Memory{Encoding: "linkedlist", Fixed: 48, PerElement: 24 + 16, Strings: true} // a node and an object for each
	hashTable  = Memory{Encoding: "hashtable", PerExpiring: 18, Table: true, Strings: true}
	// The header of the skiplist has 32 levels. A quarter of the nodes has a second level, a quarter of these a third, and so on: 53 is
	// the average.
	skipList = Memory{Encoding: "skiplist", Fixed: 16 + 32 + 640, PerElement: 53, Table: true, Strings: true}
)

func quickList(encoding string) Memory { return Memory{Encoding: encoding, Fixed: 40, PerNode: 32} }

// Types yields the number and the row of every type whose values can be read, in the order of the numbers.
func Types(yield func(number byte, t ValueType) bool) {
	for number, t := range types {
		if t.layout != nil && !yield(byte(number), t) {
			return
		}
	}
}

// row returns what is known about a type number, and an empty row where nothing is known.
func row(rdbType byte) *ValueType {
	if int(rdbType) < len(types) {
		return &types[rdbType]
	}
	return &ValueType{}
}

// TypeOf returns the type that the TYPE command would name. It returns None for a number that is no value type.
func TypeOf(rdbType byte) keyspace.Type { return row(rdbType).Of }

// FieldsExpire says whether the fields of a hash of this type may have expiries.
func FieldsExpire(rdbType byte) bool { return row(rdbType).FieldsExpire }

// MemoryOf returns how a server holds values of a type.
func MemoryOf(rdbType byte) Memory { return row(rdbType).Memory }

// Reads says whether servers that read RDBs up to a version know a type of values.
func Reads(rdbVersion int, rdbType byte) bool { return row(rdbType).ReadBy(rdbVersion) }

// ReadBy says whether servers that read RDBs up to a version know the type.
func (t *ValueType) ReadBy(rdbVersion int) bool {
	first := t.redis
	if rdbVersion >= valkeyVersion {
		first = t.valkey
	}
	return t.layout != nil && rdbVersion >= first
}

// refuse returns nil if values of the type can be read, and otherwise an error that names the type.
func refuse(rdbType byte, valkey bool) error {
	switch t := row(rdbType); {
	case t.layout != nil && (valkey || t.refused == ""):
		return nil
	case t.refused != "":
		return damagedf("value type %d %s", rdbType, t.refused)
	case rdbType > 200:
		return unknownOpcode(rdbType)
	}
	return damagedf("unknown value type %d", rdbType)
}

func unknownOpcode(op byte) error {
	if op == opSlotImport {
		return damaged("opcode 243 (slot import of Valkey 9, key metadata of Redis 8.6) is not supported")
	}
	return damagedf("unknown opcode %d", op)
}
