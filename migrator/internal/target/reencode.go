package target

import (
	"errors"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/migrator/internal/slab"
)

// CopyLimit bounds the size of a copied value in bytes, once it is re-encoded.
const CopyLimit = 512 << 20

// moduleExitsUntil is the first version of a server that refuses a value of a module that it has not loaded. Older servers end their
// process over it.
const moduleExitsUntil = 60200

// Payloads encodes values as RESTORE takes them on the target.
type Payloads struct {
	Version int  // the lowest RDB version that its nodes read
	Modules bool // values of modules may be sent
}

var moduleNotLoaded = &keyspace.UnsupportedError{What: "values of a module that the target has not loaded (or may not have loaded)", Since: "6.2 (older servers crash on such values)"}

// AppendValue appends the payload of a snapshot's value of at most limit bytes.
func (p Payloads) AppendValue(dst []byte, rdbType byte, raw []byte, limit int64) ([]byte, error) {
	if rdbType == rdb.TypeModule && !p.Modules {
		return dst, moduleNotLoaded
	}
	return rdb.Encoder{Version: p.Version, Max: int(limit)}.Append(dst, rdbType, raw)
}

// Dumped returns the payload for the target from one that another server's DUMP has returned.
func (p Payloads) Dumped(payload string) (string, error) {
	if len(payload) > 0 && payload[0] == rdb.TypeModule && !p.Modules {
		return "", moduleNotLoaded
	}
	out, err := rdb.Encoder{Version: p.Version, Max: CopyLimit}.Payload([]byte(payload))
	return slab.View(out), err
}

// NotRestorable says whether err means that the target cannot take a value.
func NotRestorable(err error) bool {
	return errors.Is(err, rdb.ErrTooLarge) || errors.As(err, new(*rdb.UnsupportedError)) || isUnsupported(err)
}
