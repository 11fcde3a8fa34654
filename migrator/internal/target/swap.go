package target

import "strconv"

// SwapCalls returns the calls of the transaction that swaps two databases by a command of the target: the command itself, those that move
// surecut's own keys of a link with these units back to their database, and those that write the witnesses of both databases. Both get one,
// whether or not they had it.
func (t *Target) SwapCalls(link string, units []Unit, first, second int, command []string) (calls []Call, swapped []Witness) {
	calls = []Call{{Args: command}}
	if first == t.OwnDB() || second == t.OwnDB() {
		other := first + second - t.OwnDB()
		cps := t.NewCheckpoints(link)
		own := []string{KeyMigration, cps.RecordName()}
		for _, u := range units {
			own = append(own, cps.key(u))
		}
		for _, k := range own {
			calls = append(calls, Call{DB: other, Args: []string{"MOVE", k, strconv.Itoa(t.OwnDB())}})
		}
	}
	swapped = []Witness{{DB: first}, {DB: second}}
	for _, w := range swapped {
		calls = append(calls, Call{DB: w.DB, Args: []string{"SET", t.Witnesses.key(w), w.value()}})
	}
	return calls, swapped
}
