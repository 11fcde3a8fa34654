package target

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/resp"
	"surecut/migrator/internal/slab"
)

// answer is a server's answer to a command, reduced to what tells whether the command did on the target what it did on the source. Values
// of keys are not kept.
type answer struct {
	kind answerKind
	n    int64    // of answerInt
	list []answer // of answerList
	text string   // of answerStatus, if it is neither OK nor QUEUED
	err  error    // of answerError; for answerNone, why there is no answer
}

type answerKind byte

const (
	answerNone answerKind = iota // the connection broke before the answer
	answerStatus
	answerError
	answerInt
	answerBulk // a string, or a reply of a type that is not listed here
	answerNil
	answerList
)

// answerOf returns the answer in a reply that came through a client.
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

// hasError says whether one of the answers is an error, or lacks.
func hasError(got []answer) bool {
	for i := range got {
		if got[i].err != nil {
			return true
		}
	}
	return false
}

// count returns the number that an answer is.
func (a answer) count() (int64, error) {
	if a.err == nil && a.kind != answerInt {
		return 0, errors.New("the reply is no number")
	}
	return a.n, a.err
}

// Bounds of what is read of replies.
const (
	mostStatus = 64      // bytes of a status that are kept
	mostNested = 8       // depth of nested lists; no reply to a command of surecut is deeper, only one to a script may be
	mostText   = 1 << 20 // bytes of a string that is kept
	mostListed = 1 << 20 // elements of a list within a list; a longer one is skipped
)

// answers reads replies from a connection.
type answers struct {
	in    *bufio.Reader
	lists slab.Of[answer]
}

// next reads one reply. If that fails, it returns answerNone, and the connection cannot be used any more.
func (r *answers) next() answer {
	got, err := r.read(0)
	if err != nil {
		return answer{err: err}
	}
	return got
}

// The replies to most commands of a stream. They are recognized without being taken apart.
var (
	okReply     = []byte("+OK\r\n")
	queuedReply = []byte("+QUEUED\r\n")
)

// skip reads a reply if it has arrived and comes next.
func (r *answers) skip(reply []byte) bool {
	if r.in.Buffered() < len(reply) {
		return false
	}
	if next, _ := r.in.Peek(len(reply)); !bytes.Equal(next, reply) {
		return false
	}
	_, _ = r.in.Discard(len(reply)) // it is buffered
	return true
}

func (r *answers) read(depth int) (answer, error) {
	if r.skip(okReply) || r.skip(queuedReply) {
		return answer{kind: answerStatus}, nil
	}
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

// text reads a reply that is a string, and "" for a status or an error.
func (r *answers) text() (string, error) {
	line, err := r.line()
	if err != nil || line[0] == '+' || line[0] == '-' {
		return "", err
	}
	n, err := number(line[1:])
	switch {
	case err != nil:
		return "", err
	case line[0] != '$' || n < 0:
		return "", errors.New("a reply is no string")
	case n > mostText:
		return "", errors.New("a reply is too long")
	}
	text := make([]byte, n+2)
	if _, err := io.ReadFull(r.in, text); err != nil {
		return "", err
	}
	return string(text[:n]), nil
}

// readList reads the elements of a list. It keeps only those of a reply, and of the lists directly in it.
func (r *answers) readList(n, depth int) (answer, error) {
	out := answer{kind: answerList}
	keep := depth < 2 && (depth == 0 || n <= mostListed)
	if keep && n <= 1024 {
		out.list = r.lists.Take(n, 1024)[:0]
	} // a longer list grows as its elements come, since the length that the reply claims may be wrong
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

// line reads a line, and checks that it is the beginning of a reply.
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
	n, err := strconv.ParseInt(slab.View(p), 10, 64)
	if err != nil || p[0] == '+' {
		return 0, fmt.Errorf("%q is no number of a reply", p)
	}
	return n, nil
}
