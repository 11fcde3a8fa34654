package compat

import (
	"bytes"
	"errors"
	"strconv"
	"time"
)

// parseLine reads a line of MONITOR, with or without the "+" of the protocol, or as one quoted string:
//
//	1339518083.107412 [0 127.0.0.1:60866] "KEYS" "user:*"
//	1339518083.107413 [0 lua] "GET" "a\x00b"
//
// It unescapes the arguments in place, and appends them to args.
func parseLine(line []byte, args [][]byte) (Call, error) {
	line = bytes.TrimRight(bytes.TrimPrefix(line, []byte("+")), "\r\n")
	if len(line) > 0 && line[0] == '"' { // the output of redis-cli --csv or --json
		whole, err := splitQuoted(line, nil)
		if err != nil || len(whole) != 1 {
			return Call{}, errNoLine
		}
		line = whole[0]
	}
	stamp, rest, ok := bytes.Cut(line, []byte(" ["))
	if !ok {
		return Call{}, errNoLine
	}
	at, err := parseStamp(stamp)
	if err != nil {
		return Call{}, err
	}
	where, rest, ok := bytes.Cut(rest, []byte("] "))
	if !ok {
		return Call{}, errNoLine
	}
	number, client, ok := bytes.Cut(where, []byte(" "))
	db, err := strconv.Atoi(string(number))
	if !ok || err != nil || db < 0 {
		return Call{}, errNoLine
	}
	client = client[:min(len(client), maxClient)]
	c := Call{At: at, DB: db, Client: string(client), Lua: string(client) == "lua"}
	c.Args, err = splitQuoted(rest, args)
	return c, err
}

var (
	errNoLine = errors.New(`is not a line of MONITOR; it must be like 1339518083.107412 [0 127.0.0.1:60866] "command" "argument"`)
	errCut    = errors.New("ends within an argument")
)

// earliest is in 2009, when MONITOR was introduced: an earlier time has lost its first digits because the line was cut off at its
// beginning.
const earliest = 1_230_768_000

func parseStamp(p []byte) (time.Time, error) {
	sec, frac, ok := bytes.Cut(p, []byte("."))
	s, err := strconv.ParseInt(string(sec), 10, 64)
	if !ok || err != nil || s < 0 || s > 1<<40 {
		return time.Time{}, errNoLine
	}
	us, err := strconv.ParseUint(string(frac), 10, 32)
	if err != nil || us > 999_999 {
		return time.Time{}, errNoLine
	}
	if s < earliest {
		return time.Time{}, nil
	}
	return time.Unix(s, int64(us)*1000), nil
}

// splitQuoted reads arguments as servers print them: in double quotes and separated by spaces. If the line was cut off, it returns
// the complete arguments with errCut.
func splitQuoted(p []byte, args [][]byte) ([][]byte, error) {
	for i := 0; i < len(p); {
		if p[i] == ' ' {
			i++
			continue
		}
		if p[i] != '"' {
			if bytes.HasPrefix(p[i:], []byte("(redacted)")) {
				args = append(args, p[i:i+len("(redacted)")])
				i += len("(redacted)")
				continue
			}
			return args, errNoLine
		}
		i++
		from, to := i, i
		for closed := false; !closed; {
			if i >= len(p) {
				return args, errCut
			}
			c := p[i]
			i++
			switch {
			case c == '"':
				closed = true
				continue
			case c == '\\' && i < len(p):
				c = p[i]
				i++
				if c == 'x' && i+1 < len(p) {
					n, err := strconv.ParseUint(string(p[i:i+2]), 16, 8)
					if err != nil {
						return args, errNoLine
					}
					c = byte(n)
					i += 2
				} else {
					c = escaped(c)
				}
			}
			p[to] = c
			to++
		}
		args = append(args, p[from:to:to])
	}
	return args, nil
}

func escaped(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'a':
		return '\a'
	case 'b':
		return '\b'
	}
	return c
}
