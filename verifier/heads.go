package verifier

import (
	"context"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
	"surecut/internal/reply"
)

// headReader reads the types and expiries of keys over one connection.
type headReader struct {
	*conn
	expireTimes bool // PEXPIRETIME is used instead of PTTL
	types       map[string]typeInfo
}

type typeInfo struct {
	t    keyspace.Type
	name string
}

// read fills out with types and, unless only types are wanted, with expiries.
func (h *headReader) read(ctx context.Context, names []string, out []reading, onlyTypes bool) error {
	perKey := 2
	if onlyTypes {
		perKey = 1
	}
	results, err := h.do(ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, 0, perKey*len(names)+1)
		cmds = append(cmds, b.Time().Build())
		for _, name := range names {
			cmds = append(cmds, b.Type().Key(name).Build())
			if perKey == 1 {
				continue
			}
			if h.expireTimes {
				cmds = append(cmds, b.Pexpiretime().Key(name).Build())
			} else {
				cmds = append(cmds, b.Pttl().Key(name).Build())
			}
		}
		return cmds
	})
	if err != nil {
		return err
	}
	if h.expireTimes && perKey == 2 && len(results) > 2 && forbids("PEXPIRETIME", results[2].Error()) {
		h.expireTimes = false
		return h.read(ctx, names, out, onlyTypes)
	}
	var now int64
	if !h.expireTimes && perKey == 2 {
		if now, err = serverTime(results[0]); err != nil {
			return err
		}
	}
	for i := range names {
		if err := h.parse(&out[i], results[1+perKey*i:][:perKey], now); err != nil {
			return err
		}
	}
	return nil
}

// parse reads the replies of TYPE and of PEXPIRETIME, or of PTTL where now is given. It returns an error where the node cannot
// answer now; a refusal of this key alone is in its reading.
func (h *headReader) parse(out *reading, results []rueidis.RedisResult, now int64) error {
	var m [2]rueidis.RedisMessage
	for i := range results {
		m[i], _ = results[i].ToMessage() // the error is in the message
	}
	if len(results) == 1 {
		return h.take(out, &m[0], nil, now)
	}
	return h.take(out, &m[0], &m[1], now)
}

// take is parse for the replies themselves; expiry is nil where it was not asked for.
func (h *headReader) take(out *reading, typeReply, expiry *rueidis.RedisMessage, now int64) error {
	name, err := typeReply.ToString()
	if err != nil {
		return out.refused("TYPE", err)
	}
	info, ok := h.types[name]
	if !ok {
		info = typeInfo{keyspace.ParseType(name), name}
		h.types[name] = info
	}
	if expiry != nil && info.t != keyspace.None {
		at, err := expiry.ToInt64()
		if err != nil {
			return out.refused(h.command(), err)
		}
		switch {
		case at == -2 || now != 0 && at == 0: // the key is gone, or just expired on a replica before 3.2
			return nil
		case at >= 0:
			out.ExpireAt = max(now+at, 1)
		}
	}
	out.Type, out.TypeName = info.t, info.name
	return nil
}

// command returns the name of the command that reads an expiry.
func (h *headReader) command() string {
	if h.expireTimes {
		return "PEXPIRETIME"
	}
	return "PTTL"
}

func serverTime(result rueidis.RedisResult) (int64, error) {
	m, err := result.ToMessage()
	if err != nil {
		return 0, replyError("TIME", err)
	}
	return timeOf(&m)
}

// timeOf converts a reply of TIME to Unix ms.
func timeOf(m *rueidis.RedisMessage) (int64, error) {
	now, err := reply.Time(m)
	return now.UnixMilli(), replyError("TIME", err)
}
