package psync

import "fmt"

type state uint8

const (
	greeting   state = iota // PING
	announcing              // REPLCONF listening-port
	offering                // REPLCONF capa
	naming                  // REPLCONF version
	asking                  // PSYNC, or SYNC where there is no PSYNC
	awaiting                // full: the header of the snapshot comes next
	receiving               // full: the snapshot comes
	streaming               // commands come
	ended                   // closed, or failed
	states
)

var stateNames = [states]string{"greeting", "announcing", "offering", "naming", "asking", "awaiting snapshot", "receiving snapshot", "streaming", "ended"}

func (s state) String() string { return stateNames[s] }

// transitions lists where each state leads, besides ended, which all lead to.
var transitions = [states][]state{
	greeting:   {announcing},
	announcing: {offering},
	offering:   {naming},
	naming:     {asking},
	asking:     {awaiting, streaming},
	awaiting:   {receiving},
	receiving:  {streaming},
}

func (s state) leadsTo(next state) bool {
	if next == ended {
		return s != ended
	}
	for _, t := range transitions[s] {
		if t == next {
			return true
		}
	}
	return false
}

// advance moves the session on. A transition that the table does not have is a bug here.
func (s *Session) advance(next state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == ended { // closed meanwhile by another goroutine
		return
	}
	if !s.state.leadsTo(next) {
		panic(fmt.Sprintf("psync: no way from %v to %v", s.state, next))
	}
	s.state = next
}

// expect refuses a call that does not belong to the state.
func (s *Session) expect(what string, want state) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case want:
		return nil
	case ended:
		return s.endedError(what)
	}
	return fmt.Errorf("%s: the replication session is %v, not %v", what, s.state, want)
}
