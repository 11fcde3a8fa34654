// Command library moves a live Redis to another server: it copies everything, follows the writes, proves that both sides are the same while
// nobody writes to the source, and says GO or NO-GO. It is a module of its own, and imports only what anybody can import.
//
//	go run . redis://source:6379 redis://target:6379 /var/tmp/state
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"surecut"
	"surecut/migrator"
	"surecut/reports"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: library SOURCE TARGET STATE")
	}
	gate, err := move(context.Background(), surecut.URLs{Source: os.Args[1], Target: os.Args[2]}, os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(gate.Verdict, gate.Reasons)
}

func move(ctx context.Context, urls surecut.URLs, stateDir string) (*reports.Gate, error) {
	sides, err := surecut.OpenSides(ctx, urls)
	if err != nil {
		return nil, err
	}
	defer sides.Close()

	config := migrator.DefaultConfig()
	config.Sides, config.StateDir = sides, stateDir
	migration, err := migrator.New(ctx, config)
	if err != nil {
		return nil, err
	}
	cutover := surecut.Cutover{Migration: migration, QuietFor: surecut.DefaultQuiet}
	found, err := cutover.Run(ctx)
	if err != nil {
		return nil, err
	}

	policy := reports.DefaultPolicy()
	policy.Require = []string{reports.KindVerify, reports.KindMigrate}
	gate := reports.Judge(policy, reports.NewVerify(found), reports.NewMigrate(migration, cutover.Quiet))
	if gate.Verdict == reports.Go {
		err = migration.Forget(ctx) // after a NO-GO, the same call of move goes on from where this one has ended
	}
	return gate, err
}
