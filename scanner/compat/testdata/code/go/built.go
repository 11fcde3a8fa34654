package store

import (
	"context"

	"github.com/redis/rueidis"
)

func swap(ctx context.Context, client rueidis.Client) {
	client.Do(ctx, client.B().Rename().Key("draft").Newkey("live").Build())
	client.Do(ctx, client.B().Arbitrary("SUNION").Keys("sold", "returned").Build())
	client.Do(ctx, client.B().Mget().Key("{a}:1", "{a}:2").Build())
	client.Do(ctx, client.B().Get().Key("draft").Build())
	if db := 1; db == 2 {
		return
	}
}
