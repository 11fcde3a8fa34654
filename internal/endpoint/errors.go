package endpoint

import (
	"errors"
	"slices"
	"strings"

	"github.com/redis/rueidis"
)

// replyCodes are the first words that mark the kind of an error reply, other than ERR. rueidis removes "ERR " from a reply, so that
// its first word may be an ordinary word; only the words listed here are codes.
var replyCodes = map[string]bool{
	"ASK": true, "BUSY": true, "BUSYGROUP": true, "BUSYKEY": true, "CLUSTERDOWN": true, "CROSSSLOT": true,
	"DENIED": true, "EXECABORT": true, "IDONTKNOW": true, "INPROG": true, "IOERR": true, "LOADING": true, "MASTERDOWN": true,
	"MISCONF": true, "MOVED": true, "NOADDR": true, "NOAUTH": true, "NOGOODSLAVE": true, "NOGROUP": true,
	"NOMASTERLINK": true, "NOPERM": true, "NOPROTO": true, "NOREPLICAS": true, "NOSCRIPT": true,
	"NOTBUSY": true, "NOTREADY": true, "OOM": true, "READONLY": true, "TRYAGAIN": true, "UNBLOCKED": true,
	"UNKILLABLE": true, "WRONGPASS": true, "WRONGTYPE": true,
}

// Code returns the code of the error reply that err holds or wraps: "MOVED", "NOPERM", "OOM", or "ERR" for a reply without a code
// of its own. It returns "" for every other error, and for the nil reply.
func Code(err error) string {
	if err == nil { // so it is for nearly every command, for which errors.As would allocate
		return ""
	}
	var coded interface{ Code() string } // resp.Error
	if errors.As(err, &coded) {
		return coded.Code()
	}
	var reply *rueidis.RedisError
	if !errors.As(err, &reply) || reply.IsNil() {
		return ""
	}
	if word, _, _ := strings.Cut(reply.Error(), " "); replyCodes[word] {
		return word
	}
	return "ERR"
}

// Passing says that an error reply with this code may be different when the command is sent again: the state of the server will pass by
// itself, or another node is to be asked.
func Passing(code string) bool {
	switch code {
	case "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "READONLY", "MASTERDOWN", "NOREPLICAS", "BUSY", "MISCONF":
		return true
	}
	return false
}

// IsNil says that err holds or wraps the nil reply.
func IsNil(err error) bool {
	var reply *rueidis.RedisError
	return errors.As(err, &reply) && reply.IsNil()
}

// proxyTroubles are the beginnings of error replies in which a proxy says that it did not reach the server behind it: nutcracker
// uses the words of the operating system, codis-proxy says what it was doing.
var proxyTroubles = []string{"Connection refused", "Connection timed out", "Connection reset by peer", "Host is down", "No route to host",
	"Network is unreachable", "Broken pipe", "Server is not available", "handle response", "handle request, slot", "router is not online"}

// lostServer are the whole replies by which nutcracker says that the connection to a server was closed while it waited for a reply.
var lostServer = []string{"Invalid argument", "unknown"}

// Unreached says that err holds or wraps the reply of a proxy that did not reach its server, so that nobody knows whether the
// command ran.
func Unreached(err error) bool {
	var reply *rueidis.RedisError
	if !errors.As(err, &reply) || reply.IsNil() {
		return false
	}
	text := strings.TrimPrefix(reply.Error(), "ERR ")
	return slices.Contains(lostServer, text) || slices.ContainsFunc(proxyTroubles, func(t string) bool { return strings.HasPrefix(text, t) })
}
