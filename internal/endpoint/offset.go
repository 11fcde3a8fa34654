package endpoint

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
)

// OffsetCommand returns the command whose reply, read by ParseOffset, tells the offset of the stream that the server sends to its
// replicas. It may be part of a transaction with reads: then they are as of that offset.
//
// The command is ROLE since 4.0. Before 4.0, a replica sends a stream of its own, with its own offsets, while its ROLE tells the
// offset of its primary's stream. Moreover, ROLE in a transaction sends MULTI and EXEC to the replicas, which INFO does not (up to
// 3.0). Before 2.8.12 there is no ROLE.
func (s Server) OffsetCommand() []string {
	if s.OneStream {
		return []string{"ROLE"}
	}
	return []string{"INFO", "replication"}
}

// ReadsAtOffset says whether a replica of a cluster answers a transaction of reads that tells its offset. From 3.2 to 5.0 it does
// not: it redirects EXEC to the primary, even after READONLY. A shard without slots has nothing to read.
func (d *Deployment) ReadsAtOffset(ctx context.Context, shard Shard, addr string) (bool, error) {
	if len(shard.Slots) == 0 {
		return true, nil
	}
	facts, err := d.Server(ctx, addr)
	if err != nil {
		return false, err
	}
	client, err := d.Client(ctx, addr, 0)
	if err != nil {
		return false, err
	}
	dc, release := client.Dedicate()
	defer release()
	var cmds []rueidis.Completed
	key := "{" + keyspace.SlotTag(shard.Slots[0].First) + "}"
	for _, args := range [][]string{{"READONLY"}, {"MULTI"}, {"TYPE", key}, facts.OffsetCommand(), {"EXEC"}} {
		cmds = append(cmds, dc.B().Arbitrary(args...).Build())
	}
	replies := dc.DoMulti(ctx, cmds...)
	switch err := replies[len(replies)-1].Error(); {
	case err == nil:
		return true, nil
	case Code(err) == "MOVED":
		return false, nil
	default:
		return false, fmt.Errorf("read %s at an offset: %w", addr, err)
	}
}

// StreamPosition returns the ID and the offset of a server's replication stream from the fields of INFO. Before 4.0 a stream has no
// ID of its own, and the run ID of the process is used.
func StreamPosition(info map[string]string) (id string, offset int64, err error) {
	if id = info["master_replid"]; id == "" {
		id = info["run_id"]
	}
	offset, err = strconv.ParseInt(info["master_repl_offset"], 10, 64)
	if err != nil || id == "" {
		return "", 0, errors.New("INFO does not contain the replication offset")
	}
	return id, offset, nil
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
