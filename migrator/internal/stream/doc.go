// Package stream applies the commands that a source sends after its snapshot.
//
// A Stream is a line of parts:
//
//	feed        reads the commands, from the spool or from a file, in stretches
//	dispatcher  the loop: one goroutine that decides on the order of everything, and acts between two commands
//	planner     how a command is carried: whole, in pieces, in another form, by copying its keys, or not at all
//	router      brings each call to the lane of its slot, and stops several lanes where a command concerns them all
//	lane        applies its items in order: what waits in a lane becomes one transaction for each unit
//
// and what the dispatcher decides by:
//
//	ahead     what the target has already: commands that an earlier run has applied, and keys that were copied as of a later offset
//	holds     which keys are held without their expiry while the link lags, and which are copied once it has caught up
//	releaser  gives held keys their expiry, at the offsets at which the source was asked
//	copier    copies keys from the source in place of commands
//	wide      carries commands that concern a whole server (FLUSHALL, SWAPDB, SCRIPT), and hands FUNCTION to the libraries
//
// Positions say how far the stream has come; Doubts are the keys whose copies are still to be made; Scripts are the texts of scripts. Each has
// a lock of its own, and outlives the stream.
//
// On a standalone target all of a MULTI ... EXEC of the source is one item, for which the lanes of its keys meet. A transaction of a cluster
// is confined to one slot, so that there each slot has an item of its own (router.go), and a MULTI over several slots is not applied at once.
//
// A command that the target cannot run (its keys lie in several slots, or it failed) is settled by copying the keys that it changed: the
// dispatcher stops between two commands, reads the keys from the source at this offset or a later one, and does not apply
// commands up to that offset to those keys. A Frame uses the same stop to show source and target at one offset to a
// verification.
//
// The target may have let a key expire while no run applied the stream. The next command for such a key shows it, and the key is copied once
// the link has caught up.
//
// Words:
//
//	group    one command of the stream, or all of a MULTI ... EXEC
//	stretch  groups that were received together and travel together from the parser to the dispatcher
//	piece    one call for the target, with the slot that decides on its lane
//	item     the pieces of one group that are applied together; a lane applies many items at once
//	meeting  a point of the stream at which several lanes stand still
//	fence    the offset as of which a key was copied: commands up to this offset are not applied to the key
//	doubt    a key whose value on the target may differ from the source's, and that is therefore copied from the source
//
// The package knows no link: what it needs of one is Config and the interface Link. It opens no connection of its own.
package stream
