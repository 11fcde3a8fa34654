package store

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

type Store struct{ rdb *redis.ClusterClient }

func (s *Store) Load(ctx context.Context, id int) error {
	// s.rdb.Rename(ctx, "a", "b") is gone
	return s.rdb.MGet(ctx, fmt.Sprintf("cart:%d", id), fmt.Sprintf("user:%d", id)).Err()
}

func (s *Store) Pay(ctx context.Context, from, to string) error {
	_, err := s.rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.DecrBy(ctx, "account:"+from, 1)
		pipe.IncrBy(ctx, "account:"+to, 1)
		return nil
	})
	return err
}

func (s *Store) Tagged(ctx context.Context, id string) error {
	return s.rdb.SInterStore(ctx, "{tags:"+id+"}:common", "{tags:"+id+"}:a", "{tags:"+id+"}:b").Err()
}

func (s *Store) Say(ctx context.Context, text string) error {
	return s.rdb.Publish(ctx, "news", text).Err()
}
