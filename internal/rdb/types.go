package rdb

import (
	"fmt"

	"surecut/internal/keyspace"
)

// The types of values as an RDB and a DUMP payload number them.
const (
	TypeString           = 0
	TypeList             = 1
	TypeSet              = 2
	TypeZSet             = 3 // scores as text
	TypeHash             = 4
	TypeZSet2            = 5 // scores as IEEE 754, since RDB 8
	TypeModulePreGA      = 6 // release candidates of 4.0; cannot be skipped
	TypeModule           = 7
	TypeHashZipmap       = 9 // before 2.6
	TypeListZiplist      = 10
	TypeSetIntset        = 11
	TypeZSetZiplist      = 12
	TypeHashZiplist      = 13
	TypeQuicklist        = 14 // since 3.2
	TypeStream           = 15 // since 5.0
	TypeHashListpack     = 16 // since 7.0
	TypeZSetListpack     = 17 // since 7.0
	TypeQuicklist2       = 18 // since 7.0
	TypeStream2          = 19 // since 7.0
	TypeSetListpack      = 20 // since 7.2
	TypeStream3          = 21 // since 7.2
	TypeValkeyHash2      = 22 // field TTLs, Valkey since 9.0; to Redis it is a hash of a 7.4 release candidate
	TypeHashListpackPre  = 23 // release candidates of Redis 7.4
	TypeHashMetadata     = 24 // field TTLs, Redis since 7.4
	TypeHashListpackEx   = 25 // field TTLs, Redis since 7.4
	typeHashMetadataPre  = TypeValkeyHash2
	quicklistNodePlain   = 1
	quicklistNodePacked  = 2
	valkeyVersion        = 80 // the first RDB version of its own that Valkey uses
	firstChecksumVersion = 5
)

// Opcodes stand where the type of the next value would.
const (
	opSlotImport    = 243 // Valkey 9; in Redis since 8.6 metadata of modules for a key
	opSlotInfo      = 244
	opFunction      = 245
	opFunctionPreGA = 246
	opModuleAux     = 247
	opIdle          = 248
	opFreq          = 249
	opAux           = 250
	opResizeDB      = 251
	opExpireMs      = 252
	opExpireSeconds = 253
	opSelectDB      = 254
	opEOF           = 255
)

// TypeOf gives the type that the TYPE command would name; None for a number that is no value type.
func TypeOf(rdbType byte) keyspace.Type {
	switch rdbType {
	case TypeString:
		return keyspace.String
	case TypeList, TypeListZiplist, TypeQuicklist, TypeQuicklist2:
		return keyspace.List
	case TypeSet, TypeSetIntset, TypeSetListpack:
		return keyspace.Set
	case TypeZSet, TypeZSet2, TypeZSetZiplist, TypeZSetListpack:
		return keyspace.ZSet
	case TypeHash, TypeHashZipmap, TypeHashZiplist, TypeHashListpack, TypeValkeyHash2,
		TypeHashListpackPre, TypeHashMetadata, TypeHashListpackEx:
		return keyspace.Hash
	case TypeStream, TypeStream2, TypeStream3:
		return keyspace.Stream
	case TypeModulePreGA, TypeModule:
		return keyspace.Module
	}
	return keyspace.None
}

// refuse names a type that cannot be read; nil for all others.
func refuse(rdbType byte, valkey bool) error {
	switch {
	case rdbType == TypeModulePreGA:
		return damagedf("value type 6 (module value of a 4.0 release candidate) cannot be read")
	case rdbType == typeHashMetadataPre && !valkey:
		return damagedf("value type 22 (hash with field TTLs of a 7.4 release candidate) cannot be read")
	case rdbType == TypeHashListpackPre:
		return damagedf("value type 23 (hash with field TTLs of a 7.4 release candidate) cannot be read")
	case TypeOf(rdbType) == keyspace.None:
		return damagedf("%s", unknownType(rdbType))
	}
	return nil
}

func unknownType(t byte) string {
	switch {
	case t == opSlotImport:
		return "opcode 243 (slot import of Valkey 9, key metadata of Redis 8.6) is not supported"
	case t > 200:
		return fmt.Sprintf("unknown opcode %d", t)
	case t == 26 || t == 27:
		return fmt.Sprintf("value type %d (stream of Redis 8.6 or later) is not supported", t)
	}
	return fmt.Sprintf("unknown value type %d", t)
}
