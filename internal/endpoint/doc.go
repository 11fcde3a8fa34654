// Package endpoint connects to what a user names as source or target.
//
// A Spec is an endpoint as it was named: kind, addresses, credentials. Open connects to it, checks that the servers are of the kind
// that the Spec says, and returns a Deployment: its shards, the facts of each server, one rueidis client per node and database, and
// raw connections for the replica handshake. This is the only package that opens connections to servers, and the only one that
// tells one Redis error reply from another (Code).
//
// A client speaks to one node and never follows a redirection: MOVED and ASK are returned as errors, and the caller decides.
// Nothing here retries, except that discovery tries every known node of a cluster in turn.
//
// Behind a twemproxy or a Codis, the shards are the servers, with the slots that the proxy's sharding assigns to them (Slot,
// PrimaryOf). The proxies themselves (Proxies) are nodes that Client can connect to.
//
// Passwords are kept in Spec, and in the configuration of a twemproxy that it names, and nowhere else. No error, no String and no
// log line shows them.
package endpoint
