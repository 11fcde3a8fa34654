// Command library copies one Redis into another, proves that everything arrived, and says GO or NO-GO. It lives outside of surecut's module
// and imports only what anybody can import.
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
	"surecut/verifier"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: library SOURCE TARGET STATE")
	}
	verdict, err := move(context.Background(), os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(verdict)
}

func move(ctx context.Context, sourceURL, targetURL, state string) (verdict string, err error) {
	source, err := surecut.Open(ctx, sourceURL)
	if err != nil {
		return "", err
	}
	defer source.Close()
	target, err := surecut.Open(ctx, targetURL)
	if err != nil {
		return "", err
	}
	defer target.Close()

	config := migrator.DefaultConfig()
	config.Sides, config.StateDir, config.Mode = migrator.Sides{Source: source, Target: target}, state, migrator.ModeFull
	migration, err := migrator.New(ctx, config)
	if err != nil {
		return "", err
	}
	if err := migration.Run(ctx); err != nil {
		return "", err
	}

	options := verifier.DefaultOptions()
	options.Sides = verifier.Sides{Source: source, Target: target}
	found, err := verifier.Run(ctx, options)
	if err != nil {
		return "", err
	}
	policy := reports.DefaultPolicy()
	policy.Require = []string{reports.KindVerify}
	report := reports.NewVerify("library", source.Spec().String(), target.Spec().String(), found)
	return reports.Evaluate(policy, reports.Loaded{Report: report}).Verdict, nil
}
