// Package sharding tells on which server behind a proxy a key is: for twemproxy (nutcracker) by the hash function, distribution and
// hash tag of a server pool, for Codis by its 1024 slots. It computes exactly what the proxies compute, and opens no connection.
//
// Invariant: all keys of a slot are on one server. A pool of twemproxy has no slots of its own, so its keys are spread over slots
// of which each server has a share. Keys with the same hashed part share a slot.
package sharding
