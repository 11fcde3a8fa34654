package migrator

import "strconv"

// swapCalls returns the calls of the transaction that swaps two databases by a command of the target: the command itself, those that move
// surecut's own keys of a link with these units back to their database, and those that write the witnesses of both databases. Both get one,
// whether or not they had it.
func (t *target) swapCalls(link string, units []unit, first, second int, command []string) (calls []call, swapped []witness) {
	calls = []call{{args: command}}
	if first == t.ownDB() || second == t.ownDB() {
		other := first + second - t.ownDB()
		own := []string{keyMigration, t.linkKey(link)}
		for _, u := range units {
			own = append(own, t.checkpointKey(link, u))
		}
		for _, k := range own {
			calls = append(calls, call{db: other, args: []string{"MOVE", k, strconv.Itoa(t.ownDB())}})
		}
	}
	swapped = []witness{{DB: first}, {DB: second}}
	for _, w := range swapped {
		calls = append(calls, call{db: w.DB, args: []string{"SET", t.witnessKey(w), w.value()}})
	}
	return calls, swapped
}
