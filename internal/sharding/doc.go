// Package sharding tells which server behind a proxy a key lives on: for twemproxy (nutcracker) by hash function,
// distribution and hash tag of a server pool, for Codis by its 1024 slots. It computes what the proxies compute, bit for
// bit, and opens no connection.
//
// Invariant: all keys of a slot live on one server. A pool of twemproxy has no slots of its own; its keys are spread over
// slots of which each server has a share, so that keys which the pool hashes alike share a slot.
package sharding
