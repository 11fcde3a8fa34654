package target

import (
	"bytes"

	"surecut/internal/command"
	"surecut/internal/keyspace"
	"surecut/internal/resp"
	"surecut/migrator/internal/slab"
)

// Series holds plain commands, one behind the other, as the bytes that the source sent. A command is plain if the target gets it as it is,
// if it names one key, and if the target has done with it what the source did unless the reply is an error. Whoever adds a command that
// sets an expiry notes this in Target.Expiring. While all goes well nothing needs to be known of each of them, which saves most of what a
// call costs. Where something is to be done about one of them, Transaction.Expand makes a call of each.
type Series struct {
	bytes []byte
	plain []plain
	reads int // how many of the commands depend on the value of their key
}

// plain is a command of a series.
type plain struct {
	from, to int  // place of its key among the bytes
	reads    bool // its effect depends on the value of the key
}

// Add appends a command. encoded are its bytes, of which those from from to to are its key. reads says whether the effect of the command
// depends on the value of the key.
func (s *Series) Add(encoded []byte, from, to int, reads bool) {
	at := len(s.bytes)
	s.bytes = append(s.bytes, encoded...)
	s.plain = append(s.plain, plain{at + from, at + to, reads})
	if reads {
		s.reads++
	}
}

// Len returns the number of commands.
func (s *Series) Len() int { return len(s.plain) }

// Size returns the number of bytes.
func (s *Series) Size() int { return len(s.bytes) }

// mostSeries bounds the bytes of a series that are kept to be used again.
const mostSeries = 32 << 10

// Blank empties a series that is to be used again. Calls that Expand has made of it stay what they are.
func (s *Series) Blank() {
	s.bytes, s.plain, s.reads = s.bytes[:0], s.plain[:0], 0
	if cap(s.bytes) > mostSeries {
		*s = Series{}
	}
}

// gone returns those keys of a database that commands of the series read and that may have expired on the target.
func (s *Series) gone(e *Expiring, db int) (names []string) {
	if s.reads == 0 || e.none() {
		return nil
	}
	for _, p := range s.plain {
		if name := slab.View(s.bytes[p.from:p.to]); p.reads && e.mayBeGone(db, name) {
			names = append(names, name)
		}
	}
	return names
}

// calls appends a call for each command. c is the call that has the series.
func (s *Series) calls(out []Call, c *Call) []Call {
	r := resp.NewReader(bytes.NewReader(s.bytes))
	for i, p := range s.plain {
		args, _, err := r.ReadCommand()
		if err != nil {
			panic("target: a series is no list of commands: " + err.Error()) // Add was given something else
		}
		x := Call{DB: c.DB, Key: keyspace.Key{DB: c.Key.DB, Name: string(s.bytes[p.from:p.to])}, Reads: p.reads, Commands: 1, pos: c.pos + i}
		for _, a := range args {
			x.Args = append(x.Args, string(a))
		}
		if spec, known := command.Lookup(args); known {
			x.Absolute = spec.Absolute(args)
			_, x.Expires, _ = spec.ExpireAt(args)
		}
		out = append(out, x)
	}
	return out
}
