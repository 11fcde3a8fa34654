package migrator

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/resp"
)

// answer is what a server answered to a command, as far as it tells whether the command did on the target what it had done on the source.
// What a key holds is not kept.
type answer struct {
	kind answerKind
	n    int64    // of answerInt
	list []answer // of answerList
	text string   // of answerStatus, where it is neither OK nor QUEUED
	err  error    // of answerError; of answerNone, why there is none
}

type answerKind byte

const (
	answerNone answerKind = iota // the connection broke before it
	answerStatus
	answerError
	answerInt
	answerBulk // a string; also what is none of the others
	answerNil
	answerList
)

// answerOf is a reply that came through a client.
func answerOf(r rueidis.RedisResult) answer {
	if err := r.NonRedisError(); err != nil {
		return answer{err: err}
	}
	m, err := r.ToMessage()
	if err != nil && !rueidis.IsRedisNil(err) {
		return answer{kind: answerError, err: err}
	}
	return messageOf(&m)
}

func messageOf(m *rueidis.RedisMessage) answer {
	switch {
	case m.IsNil():
		return answer{kind: answerNil}
	case m.Error() != nil:
		return answer{kind: answerError, err: m.Error()}
	case m.IsInt64():
		n, _ := m.AsInt64()
		return answer{kind: answerInt, n: n}
	case m.IsArray():
		elements, _ := m.ToArray()
		out := answer{kind: answerList, list: make([]answer, len(elements))}
		for i := range elements {
			out.list[i] = messageOf(&elements[i])
		}
		return out
	}
	text, _ := m.ToString()
	if len(text) > mostStatus {
		return answer{kind: answerBulk}
	}
	return answer{kind: answerStatus, text: text}
}

// count reads a reply that is a number.
func (a answer) count() (int64, error) {
	if a.err == nil && a.kind != answerInt {
		return 0, errors.New("the reply is no number")
	}
	return a.n, a.err
}

// hindered says that nobody knows whether the call was run, and that another one would fare no better for now.
func (a answer) hindered() bool {
	code := endpoint.Code(a.err)
	return a.err != nil && !errors.Is(a.err, errKeyTooLong) && (code == "" || endpoint.Unreached(a.err) || passing(code))
}

// final returns the error of a target that takes nothing any more.
func (a answer) final(addr string) error {
	switch endpoint.Code(a.err) {
	case "OOM":
		return fmt.Errorf("target %s: %w", addr, errTargetFull)
	case "NOAUTH", "NOPERM", "WRONGPASS":
		return fmt.Errorf("target %s: %w", addr, a.err)
	}
	return nil
}

// Bounds of what is read of replies.
const (
	mostStatus = 64      // bytes of a status that are kept
	mostNested = 8       // depth of lists; scripts may return deeper ones, which no server of ours does
	mostListed = 1 << 20 // elements of a list within a list: more are read past
)

// answers reads replies off a connection.
type answers struct {
	in    *bufio.Reader
	lists slab[answer]
}

// next reads one reply. Without one, its kind is answerNone, and the connection is of no more use.
func (r *answers) next() answer {
	got, err := r.read(0)
	if err != nil {
		return answer{err: err}
	}
	return got
}

func (r *answers) read(depth int) (answer, error) {
	line, err := r.line()
	if err != nil {
		return answer{}, err
	}
	text := line[1:]
	switch line[0] {
	case '+':
		if string(text) == "OK" || string(text) == "QUEUED" {
			return answer{kind: answerStatus}, nil
		}
		return answer{kind: answerStatus, text: string(text[:min(len(text), mostStatus)])}, nil
	case '-':
		return answer{kind: answerError, err: resp.Error(text)}, nil
	}
	n, err := number(text)
	if err != nil {
		return answer{}, err
	}
	switch {
	case line[0] == ':':
		return answer{kind: answerInt, n: n}, nil
	case n == -1:
		return answer{kind: answerNil}, nil
	case n < 0:
		return answer{}, fmt.Errorf("a reply has the length %d", n)
	case line[0] == '$':
		_, err := r.in.Discard(int(n) + 2)
		return answer{kind: answerBulk}, err
	case depth == mostNested:
		return answer{}, errors.New("a reply is nested too deeply")
	}
	return r.readList(int(n), depth)
}

// readList reads the elements of a list. Those of a list that nobody looks into are not kept.
func (r *answers) readList(n, depth int) (answer, error) {
	out := answer{kind: answerList}
	keep := depth < 2 && (depth == 0 || n <= mostListed)
	if keep && n <= 1024 {
		out.list = r.lists.take(n, 1024)[:0]
	} // a longer one grows as its elements come: its length may be a lie
	for range n {
		element, err := r.read(depth + 1)
		if err != nil {
			return answer{}, err
		}
		if keep {
			out.list = append(out.list, element)
		}
	}
	return out, nil
}

// line reads up to the end of a line, and checks that a reply begins with it.
func (r *answers) line() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, errors.New("a line of a reply is longer than any that a server sends")
	}
	if err != nil {
		return nil, err
	}
	known := len(line) >= 3 && line[len(line)-2] == '\r'
	if known {
		switch line[0] {
		case '+', '-', ':', '$', '*':
		default:
			known = false
		}
	}
	if !known {
		return nil, fmt.Errorf("a reply begins with %s", strconv.Quote(string(line[:min(len(line), 20)])))
	}
	return line[:len(line)-2], nil
}

// number reads a decimal number of a reply.
func number(p []byte) (int64, error) {
	n, err := strconv.ParseInt(view(p), 10, 64)
	if err != nil || p[0] == '+' {
		return 0, fmt.Errorf("%q is no number of a reply", p)
	}
	return n, nil
}
