package slots

import (
	"strconv"
	"strings"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// Link is the table as one link sees it.
type Link struct {
	Table *Table
	Notes *Notes
	Index int
}

// Applies says whether the link applies a command for a key of a slot, which ends at an offset of its stream. The question is no sign.
func (l *Link) Applies(s uint16, end int64) bool { return l.Table.Applies(l.Index, s, end) }

// Owns says whether the link owns a slot, which does not move.
func (l *Link) Owns(s uint16) bool { return l.Table.Owns(l.Index, s) }

// Judge returns what the link does with a command for a key of a slot, which ends at an offset of its stream. If that is Note, the key is
// noted. The caller saves the notes before the command counts as applied.
func (l *Link) Judge(k keyspace.Key, s uint16, end int64) (Verdict, error) {
	if l.Applies(s, end) {
		return Apply, nil
	}
	return l.Notes.judge(l.Index, k, s, end)
}

// Loads says whether the link loads a key that its snapshot holds. A key of a slot that another link owns is a sign that the slot moves.
func (l *Link) Loads(s uint16) (bool, error) {
	if l.Owns(s) {
		return true, nil
	}
	return false, l.Table.Begin([]uint16{s}, false)
}

// Doubt notes a key that would be read from the link's shard, if its slot moves. wanted says whether the link is to read it. A key of a
// slot that another link owns need not be read, since that link has read it.
func (l *Link) Doubt(k keyspace.Key, s uint16) (wanted bool, err error) {
	if l.Owns(s) {
		return true, nil
	}
	l.Notes.mu.Lock()
	defer l.Notes.mu.Unlock()
	if !l.Table.moves(s) {
		return l.Owns(s), nil
	}
	return false, l.Notes.add(k)
}

// Refused says whether an error is the answer of a node that a slot has moved from it, or is moving (MOVED or ASK). That is a sign. A nil
// Link, of a source whose slots are not followed, takes none.
func (l *Link) Refused(reply error) (sign bool, err error) {
	if code := endpoint.Code(reply); l == nil || code != "MOVED" && code != "ASK" {
		return false, nil
	}
	s, ok := movedSlot(reply.Error())
	if !ok {
		return false, nil
	}
	return true, l.Table.Begin([]uint16{s}, false)
}

// movedSlot returns the slot that a text with a reply names, as "MOVED 5426 10.0.0.1:6379".
func movedSlot(text string) (uint16, bool) {
	words := strings.Fields(text)
	for i := 0; i+1 < len(words); i++ {
		if words[i] == "MOVED" || words[i] == "ASK" {
			n, err := strconv.ParseUint(words[i+1], 10, 14)
			return uint16(n), err == nil
		}
	}
	return 0, false
}
