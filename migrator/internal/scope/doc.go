// Package scope knows which keys belong to a link, and under which name and in which database the target has them.
//
// Within the migrator a key is named by its database on the source and its name on the target (see Scope). The package talks to no server.
package scope
