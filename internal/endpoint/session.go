package endpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// Session is one connection to one server that serves all databases of the server, for callers that look at many keys. Only one
// goroutine may use it at a time. It does not burden the server: pages of SCAN are sized by the names that arrive, and a reply is
// given up when no byte of it has arrived for Silence.
type Session struct {
	Addr   string
	client rueidis.Client
	db     int
	count  int // COUNT of the next page
}

const (
	pageKeys  = 512       // keys on one page of SCAN at most
	pageBytes = 256 << 10 // about how many bytes the names of one page have
)

// OpenSession connects to a server.
func (d *Deployment) OpenSession(ctx context.Context, addr string) (*Session, error) {
	client, err := d.Connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	return &Session{Addr: addr, client: client, count: 2}, nil
}

// Close closes the connection.
func (s *Session) Close() { s.client.Close() }

// B builds commands.
func (s *Session) B() rueidis.Builder { return s.client.B() }

// Select changes the database. A session begins with database 0; servers of a cluster have no other.
func (s *Session) Select(ctx context.Context, db int) error {
	if db == s.db {
		return nil
	}
	if _, err := s.one(ctx, "SELECT", strconv.Itoa(db)); err != nil {
		return err
	}
	s.db = db
	return nil
}

// Do sends commands in one pipeline. Error replies are in the results; the returned error concerns the connection.
func (s *Session) Do(ctx context.Context, cmds ...rueidis.Completed) ([]rueidis.RedisResult, error) {
	defer context.AfterFunc(ctx, s.client.Close)()
	bounded, cancel := context.WithTimeout(ctx, Silence)
	defer cancel()
	results := s.client.DoMulti(bounded, cmds...)
	for _, r := range results {
		err := r.NonRedisError()
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case IsSilence(err):
			return nil, fmt.Errorf("%s has not answered for %v: %w", s.Addr, Silence, err)
		default:
			return nil, fmt.Errorf("%s: %w", s.Addr, err)
		}
	}
	return results, nil
}

// IsSilence says whether an error means that a server did not answer in time.
func IsSilence(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, new(*FrozenError))
}

// SilentSince returns since when a server has not answered a request that was begun at a time and has failed: since then if it kept silent,
// else from now on.
func SilentSince(err error, begun time.Time) time.Time {
	var frozen *FrozenError
	switch {
	case errors.As(err, &frozen):
		return frozen.Since
	case IsSilence(err), errors.As(err, new(*attemptError)):
		return begun
	}
	return time.Now()
}

func (s *Session) one(ctx context.Context, args ...string) (rueidis.RedisResult, error) {
	results, err := s.Do(ctx, s.B().Arbitrary(args...).Build())
	if err != nil {
		return rueidis.RedisResult{}, err
	}
	if err := results[0].Error(); err != nil {
		return results[0], fmt.Errorf("%s of %s: %w", args[0], s.Addr, err)
	}
	return results[0], nil
}

// Scan reads a page of names of the selected database, limited to those that match a pattern unless it is "". The first pages are
// small and then grow as far as the sizes of the names allow: with names of a megabyte, the server would have to hold a reply of
// that size times COUNT.
func (s *Session) Scan(ctx context.Context, cursor, match string) (names []string, next string, err error) {
	args := []string{"SCAN", cursor, "COUNT", strconv.Itoa(s.count)}
	if match != "" {
		args = append(args, "MATCH", match)
	}
	result, err := s.one(ctx, args...)
	if err != nil {
		return nil, "", err
	}
	page, err := result.ToArray()
	if err != nil || len(page) != 2 {
		return nil, "", fmt.Errorf("SCAN of %s returned %d elements instead of a cursor and keys: %w", s.Addr, len(page), err)
	}
	if next, err = page[0].ToString(); err != nil {
		return nil, "", fmt.Errorf("cursor of SCAN of %s: %w", s.Addr, err)
	}
	if names, err = page[1].AsStrSlice(); err != nil {
		return nil, "", fmt.Errorf("keys of SCAN of %s: %w", s.Addr, err)
	}
	s.size(names)
	return names, next, nil
}

// size sets COUNT for the next page by the names of the last one.
func (s *Session) size(names []string) {
	bytes := 0
	for _, name := range names {
		bytes += len(name)
	}
	s.count = min(2*s.count, pageKeys)
	if len(names) > 0 {
		s.count = max(1, min(s.count, pageBytes*len(names)/max(bytes, 1)))
	}
}

// ByNames divides names into pieces whose commands a server can take in at once. A piece has at most n names, and few bytes unless
// it is a single name.
func ByNames(names []string, n int) (pieces [][]string) {
	for len(names) > 0 {
		bytes, end := 0, 0
		for end < len(names) && end < n && (end == 0 || bytes+len(names[end]) <= pageBytes) {
			bytes += len(names[end])
			end++
		}
		pieces, names = append(pieces, names[:end]), names[end:]
	}
	return pieces
}
