package main

import "github.com/urfave/cli/v2"

// commands returns all commands in the order of a migration. Each is defined in a file of its own.
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
