package endpoint

import (
	"errors"
	"testing"

	"surecut/internal/resp"
)

func TestJudgeProbe(t *testing.T) {
	bad, content := resp.Error("ERR DUMP payload version or checksum are wrong"), resp.Error("ERR Bad data format")
	tests := []struct {
		name, why string
		refused   error
		replies   func(version int) error
		want      int
		ok        bool
	}{
		{"Redis 7.0", "it takes its own and all before", bad, upTo(10, bad, content), 10, true},
		{"Redis 2.8", "", bad, upTo(6, bad, content), 6, true},
		{"Valkey 9", "it refuses what Redis alone writes", bad, func(v int) error {
			if v == 80 || v <= 11 {
				return content
			}
			return bad
		}, 80, true},
		{"takes anything", "a relaxed check says nothing of what it reads", bad, upTo(1000, bad, content), 0, false},
		{"refuses everything alike", "", bad, upTo(0, bad, content), 0, false},
		{"forbidden", "", resp.Error("NOPERM no"), upTo(10, bad, content), 0, false},
		{"forbidden later", "", bad, func(int) error { return resp.Error("OOM no") }, 0, false},
		{"restored", "nothing that a server does with a payload without a value", bad, func(int) error { return nil }, 0, false},
		{"no reply", "", errors.New("connection reset"), upTo(10, bad, content), 0, false},
	}
	for _, tt := range tests {
		var replies []error
		for _, v := range probedVersions() {
			replies = append(replies, tt.replies(v))
		}
		if got, ok := judgeProbe(probedVersions(), tt.refused, replies); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%s: %d, %v, want %d, %v (%s)", tt.name, got, ok, tt.want, tt.ok, tt.why)
		}
	}
}

func upTo(most int, above, within error) func(int) error {
	return func(v int) error {
		if v > most {
			return above
		}
		return within
	}
}
