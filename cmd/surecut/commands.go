package main

import "github.com/urfave/cli/v2"

// commands lists every command in the order of a migration; each has a file of its own.
func commands() []*cli.Command {
	return []*cli.Command{
		newCheckCommand(),
		newMigrateCommand(),
		newVerifyCommand(),
		newRepairCommand(),
		newScanCommand(),
		newGateCommand(),
		newReportCommand(),
		newDemoCommand(),
	}
}
