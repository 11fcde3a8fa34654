package endpoint

import (
	"testing"

	"github.com/redis/rueidis"

	"surecut/internal/command"
)

func TestKnows(t *testing.T) {
	tests := []struct {
		reply, why  string
		known, told bool
	}{
		{"ERR unknown command 'GETEX'", "until 6.2", false, true},
		{"ERR unknown command `GETEX`, with args beginning with: ", "until 7.0", false, true},
		{"ERR unknown command 'GETEX', with args beginning with: ", "since 7.0", false, true},
		{"ERR wrong number of arguments for 'getex' command", "it is there", true, true},
		{"NOPERM this user has no permissions to run the 'getex' command", "nothing is told", false, false},
		{"NOAUTH Authentication required.", "nothing is told", false, false},
	}
	for _, tt := range tests {
		m := rueidisError(tt.reply)
		if known, told := knows(m); known != tt.known || told != tt.told {
			t.Errorf("%s: known %v, told %v (%s)", tt.reply, known, told, tt.why)
		}
	}
}

func TestTakesForm(t *testing.T) {
	dump := []string{"dump payload"}
	tests := []struct {
		reply       string
		took        []string
		takes, told bool
	}{
		{"ERR DUMP payload version or checksum are wrong", dump, true, true},
		{"ERR syntax error", dump, false, true},
		{"ERR wrong number of arguments for 'restore' command", dump, false, true},
		{"NOPERM this user has no permissions", dump, false, false},
		{"OOM command not allowed when used memory > 'maxmemory'.", nil, false, false},
		{"MOVED 5 127.0.0.1:1", nil, false, false},
		{"READONLY You can't write against a read only replica.", nil, false, false},
		{"MISCONF Redis is configured to save RDB snapshots", nil, false, false},
	}
	for _, tt := range tests {
		if takes, told := takesForm(rueidisError(tt.reply), tt.took); takes != tt.takes || told != tt.told {
			t.Errorf("%s: takes %v, told %v", tt.reply, takes, told)
		}
	}
	if takes, told := takesForm(nil, nil); !takes || !told {
		t.Error("success says nothing")
	}
	if takes, told := takesForm(rueidis.Nil, nil); !takes || !told {
		t.Error("nil says nothing")
	}
}

// rueidisError is a reply as the client library gives it: without ERR.
func rueidisError(text string) error { return replyError(text) }

type replyError string

func (e replyError) Error() string { return string(e) }
func (e replyError) Code() string {
	for i, c := range e {
		if c == ' ' {
			return string(e[:i])
		}
	}
	return string(e)
}

func TestCapabilitiesOf(t *testing.T) {
	old := CapabilitiesOf(Server{Flavor: "redis", Version: "4.0.14", Number: 40014})
	if old.Dialect.Knows("XADD") || !old.Dialect.Knows("UNLINK") || !old.Multi || !old.MultiKey {
		t.Errorf("4.0: %+v", old)
	}
	nine := CapabilitiesOf(Server{Flavor: "valkey", Version: "9.0.1", Number: 70204, Cluster: true})
	if !nine.Dialect.Knows("HPEXPIREAT") || nine.MultiKey {
		t.Errorf("Valkey 9: %+v", nine)
	}
}

func TestEveryFormIsProbed(t *testing.T) {
	for _, f := range command.Forms() {
		probed := f == command.HashSetMany || f == command.CreateConsumer || f == command.GeoStoreEmpty // by the arity, the help and the reply
		for _, p := range formProbes {
			probed = probed || p.form == f
		}
		if !probed {
			t.Errorf("form %d is not probed", f)
		}
	}
}
