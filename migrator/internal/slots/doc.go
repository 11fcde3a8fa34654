// Package slots says which link applies the commands of each slot of a source cluster, while slots move between its shards.
//
// The commands of a slot that moves come in the streams of two links, which have no common order. So nobody applies them: from the first sign
// of a move on, the links only note the keys of such commands. Once the cluster has settled, the keys of the slot are read again from its
// owner, and from there on the owner's link applies its stream. docs/moving-slots.md says why that is sound.
//
// A Table is shared by all links of a migration. Its state is durable before a verdict that depends on it is returned, so that it may be
// relied on for what a link acknowledges.
//
// Words:
//
//	owner    the link that applies the commands of a slot
//	sign     anything that shows that a slot moves, or may move
//	point    the position in a link's stream up to which the copies of a slot that was read again contain the commands
//	marked   said of a slot whose notes may lack keys: the target is asked for its keys of that slot as well
//	attempt  the reading again of slots for one owner; a sign in between breaks it
package slots
