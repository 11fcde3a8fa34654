package endpoint

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"
)

// OffsetCommand is the command whose reply, read by ParseOffset, tells where the stream stands that the server sends to its
// replicas. It may stand in a transaction with reads: then they are as of that offset.
//
// That is ROLE since 4.0. Before, a replica sends a stream of its own, with offsets of its own, while ROLE names the offset of its
// primary's; and ROLE in a transaction sends MULTI and EXEC to the replicas, which INFO does not (up to 3.0). There is no ROLE before
// 2.8.12.
func (s Server) OffsetCommand() []string {
	if s.OneStream {
		return []string{"ROLE"}
	}
	return []string{"INFO", "replication"}
}

// ParseOffset reads the reply to OffsetCommand.
func ParseOffset(m rueidis.RedisMessage) (int64, error) {
	if text, err := m.ToString(); err == nil {
		return infoOffset(text)
	}
	parts, err := m.ToArray()
	if err != nil {
		return 0, fmt.Errorf("ROLE: %w", err)
	}
	role := ""
	if len(parts) > 0 {
		role, _ = parts[0].ToString()
	}
	at := map[string]int{"master": 1, "slave": 4}[role]
	if at == 0 || len(parts) <= at {
		return 0, errors.New("ROLE: neither a primary nor a replica")
	}
	offset, err := parts[at].AsInt64()
	if err == nil && offset < 0 {
		err = errors.New("ROLE: the replica is not connected to its primary")
	}
	return offset, err
}

func infoOffset(text string) (int64, error) {
	offset, err := strconv.ParseInt(ParseInfo(text)["master_repl_offset"], 10, 64)
	if err != nil {
		return 0, errors.New("INFO replication has no master_repl_offset: the server is older than 2.8")
	}
	return offset, nil
}
