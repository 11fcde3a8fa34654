package libraries

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// state is what the next run is to know.
type state struct {
	Theirs  versions                   `json:"theirs"`
	Brought versions                   `json:"brought"`
	Links   map[string]map[string]held `json:"links"` // by link and by name of the library
	Codes   map[version][]byte         `json:"codes"`
	Turn    int64                      `json:"turn"` // grows with each library that comes
}

// held is a library that a shard has.
type held struct {
	Version version `json:"version"`
	Turn    int64   `json:"turn"` // when it came
}

type version string

func versionOf(code string) version {
	sum := sha256.Sum256([]byte(code))
	return version(hex.EncodeToString(sum[:]))
}

// versions are versions of libraries, by name, oldest first.
type versions map[string][]version

// mostVersions bounds the versions of one name. Old ones come up only where a node of the target goes back to older data.
const mostVersions = 100

func (l versions) add(name string, v version) {
	if l.has(name, v) {
		return
	}
	l[name] = append(l[name], v)
	l[name] = l[name][max(len(l[name])-mostVersions, 0):]
}

func (l versions) has(name string, v version) bool { return slices.Contains(l[name], v) }

func newState() state {
	return state{Theirs: versions{}, Brought: versions{}, Links: map[string]map[string]held{}, Codes: map[version][]byte{}}
}

// library is a library that the target is to have.
type library struct {
	name string
	held
	link    string // from whose shard it came
	code    string
	differs bool // another shard has another version
}

// wanted returns what the target is to have, in the order in which it came.
func (s *state) wanted() []library {
	newest := map[string]library{}
	for _, link := range slices.Sorted(maps.Keys(s.Links)) {
		for name, h := range s.Links[link] {
			before, there := newest[name]
			differs := there && (before.differs || before.Version != h.Version)
			if !there || h.Turn > before.Turn {
				before = library{name: name, held: h, link: link, code: string(s.Codes[h.Version])}
			}
			before.differs = differs
			newest[name] = before
		}
	}
	return slices.SortedFunc(maps.Values(newest), func(a, b library) int { return cmp.Compare(a.Turn, b.Turn) })
}

// give says that the shard of a link has a library. One that it had already does not come again.
func (s *state) give(link, name, code string) {
	if s.Links[link] == nil {
		s.Links[link] = map[string]held{}
	}
	v := versionOf(code)
	if s.Links[link][name].Version == v {
		return
	}
	s.Turn++
	s.Links[link][name], s.Codes[v] = held{v, s.Turn}, []byte(code)
}

// replace says that the shard of a link has these libraries and no others.
func (s *state) replace(link string, codes []string) error {
	names := map[string]bool{}
	for _, code := range codes {
		name, err := nameOf(code)
		if err != nil {
			return err
		}
		names[name] = true
		s.give(link, name, code)
	}
	maps.DeleteFunc(s.Links[link], func(name string, _ held) bool { return !names[name] })
	return nil
}

// apply does to the libraries of a link's shard what a FUNCTION command has done there. It changes nothing if it returns an error.
func (s *state) apply(link string, args []string) error {
	sub, policy := strings.ToUpper(args[1]), ""
	switch {
	case sub == "FLUSH":
		clear(s.Links[link])
		return nil
	case sub == "DELETE" && len(args) == 3:
		delete(s.Links[link], args[2])
		return nil
	case sub == "LOAD" && len(args) > 2:
		return s.add(link, args[len(args)-1:])
	case sub == "RESTORE" && len(args) > 2:
		codes, err := rdb.Libraries([]byte(args[2]))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnreadable, err)
		}
		if len(args) > 3 {
			policy = strings.ToUpper(args[3])
		}
		if policy == "FLUSH" {
			return s.replace(link, codes)
		}
		return s.add(link, codes)
	}
	return fmt.Errorf("%w: FUNCTION %s of %d arguments", ErrUnreadable, keyspace.PrintableShort(sub), len(args))
}

// add adds libraries to those of a link's shard.
func (s *state) add(link string, codes []string) error {
	names := make([]string, len(codes))
	for i, code := range codes {
		var err error
		if names[i], err = nameOf(code); err != nil {
			return err
		}
	}
	for i, code := range codes {
		s.give(link, names[i], code)
	}
	return nil
}

// forget drops the code of versions that no shard has.
func (s *state) forget() {
	used := map[version]bool{}
	for _, l := range s.Links {
		for _, h := range l {
			used[h.Version] = true
		}
	}
	maps.DeleteFunc(s.Codes, func(v version, _ []byte) bool { return !used[v] })
}

// ErrUnreadable says that it is not known what a FUNCTION command, or a library of a snapshot, does.
var ErrUnreadable = errors.New("it is not known which function libraries this brings: load them at the target yourself")

// nameOf returns the name of a library, which the first line of its code says: #!lua name=mylib
func nameOf(code string) (string, error) {
	first, _, _ := strings.Cut(code, "\n")
	if strings.HasPrefix(first, "#!") {
		for _, word := range strings.Fields(first)[1:] {
			if key, name, _ := strings.Cut(word, "="); strings.EqualFold(key, "name") {
				if name = strings.Trim(name, `"'`); name != "" {
					return name, nil
				}
			}
		}
	}
	return "", fmt.Errorf("%w: the first line of the library names none: %s", ErrUnreadable, keyspace.PrintableShort(first))
}
