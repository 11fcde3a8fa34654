package target

import (
	"context"
	"slices"
)

// lossesAtOne is how often in a row the connection may break at one transaction or value before its size is suspected.
const lossesAtOne = 3

// apart groups the transactions of a node as they are sent: together, or one by one if the connection has broken several times, so that it
// shows at which of them it breaks.
func apart(txs []*Transaction) (groups [][]*Transaction) {
	if !slices.ContainsFunc(txs, func(x *Transaction) bool { return x.lost >= lossesAtOne-1 }) {
		return [][]*Transaction{txs}
	}
	for i := range txs {
		groups = append(groups, txs[i:i+1:i+1])
	}
	return groups
}

// suspectSize withholds what is too large of transactions at which the connection has broken again and again.
func (w *direct) suspectSize(ctx context.Context, addr string, txs []*Transaction) {
	for _, x := range txs {
		if x.lost < lossesAtOne {
			continue
		}
		x.lost = 0
		if size := int64(x.size()); size >= leastBound && w.t.findBound(ctx, addr, x.longest(), size) {
			x.withhold(w.t.Most())
		}
	}
}

// refuseLarge settles the values whose payloads are larger than the target takes, and returns the others. At a value at which the connection
// has broken again and again, it finds out whether its size is the reason.
func (w *direct) refuseLarge(ctx context.Context, addr string, b *Batch, keys []Value, settle func(k *Value, refused *RefusedError) error) (rest []Value, err error) {
	for i := range keys {
		k, size := &keys[i], keys[i].To-keys[i].From
		if k.restored || size < leastBound {
			rest = append(rest, *k)
			continue
		}
		why := w.t.Most().Refuses(size)
		if why == nil && k.Attempts >= lossesAtOne && w.t.findBound(ctx, addr, int64(size), int64(size)) {
			why = w.t.Most().Refuses(size)
		}
		if why == nil {
			rest = append(rest, *k)
		} else if err := settle(k, &RefusedError{addr, why}); err != nil {
			return nil, err
		}
	}
	return rest, ctx.Err()
}
