package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"surecut/internal/endpoint"
)

// bothRouteFlags returns the route flags that apply to both sides. A flag with the name of a side in front takes precedence for
// that side.
func bothRouteFlags() []cli.Flag { return tunnelFlags("", "Both sides", "the servers") }

// routeFlags returns the flags that say how one side is reached.
func routeFlags(side, category string) []cli.Flag {
	return append(tunnelFlags(side+"-", category, "the "+side),
		&cli.StringSliceFlag{Name: side + "-nat", Category: category,
			Usage: "`ANNOUNCED=REACHABLE`,...: connect to another address than the one that a node of the " + side + " announces; each is host:port or a host"},
		&cli.StringFlag{Name: side + "-nodes", Category: category,
			Usage: "`FILE` of the " + side + "'s nodes, host:port or host:port:password on each line; the URL may then name no host"},
	)
}

func tunnelFlags(prefix, category, what string) []cli.Flag {
	text := func(name, usage string) cli.Flag {
		return &cli.StringFlag{Name: prefix + name, Usage: usage, Category: category}
	}
	side := strings.TrimSuffix(prefix, "-")
	return []cli.Flag{
		text("ssh", "`USER@BASTION[:PORT]`: reach "+what+" through an SSH server, which resolves the host names"),
		text("ssh-key", "`FILE` of the private key for the bastion, instead of the keys of the agent and of ~/.ssh; its passphrase in "+secretVariable(side, "SSH_PASSPHRASE")),
		text("ssh-password-file", "`FILE` whose first line is the password for the bastion; or set "+secretVariable(side, "SSH_PASSWORD")),
		text("ssh-known-hosts", "`FILE` with the bastion's host key, instead of ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts"),
		&cli.BoolFlag{Name: prefix + "ssh-insecure", Usage: "do not check the bastion's host key", Category: category},
		text("socks5", "`[USER@]HOST:PORT`: reach "+what+" (or the bastion) through a SOCKS5 proxy; its password in "+secretVariable(side, "SOCKS5_PASSWORD")),
	}
}

// secretVariable returns the name of the environment variable for a secret of a side. The side "" stands for both.
func secretVariable(side, what string) string {
	if side == "" {
		return "SURECUT_" + what
	}
	return "SURECUT_" + strings.ToUpper(side) + "_" + what
}

// secret reads a secret from the environment: that of the side or, if there is none, that of both sides.
func secret(side, what string) string {
	if text := os.Getenv(secretVariable(side, what)); text != "" {
		return text
	}
	return os.Getenv(secretVariable("", what))
}

// ofSide returns the name of the flag that applies to a side: its own flag or, if only that is set, the flag for both sides.
func ofSide(c *cli.Context, side, name string) string {
	if c.IsSet(side+"-"+name) || !c.IsSet(name) {
		return side + "-" + name
	}
	return name
}

// setRoute sets the bastion, the proxy and the NAT map from the flags.
func setRoute(spec *endpoint.Spec, c *cli.Context, side string) error {
	if err := setSSH(spec, c, side); err != nil {
		return err
	}
	if flag := ofSide(c, side, "socks5"); c.String(flag) != "" {
		s, err := endpoint.ParseSOCKS5(c.String(flag))
		if err != nil {
			return fmt.Errorf("--%s: %w", flag, err)
		}
		if s.Password == "" {
			s.Password = secret(side, "SOCKS5_PASSWORD")
		}
		spec.SOCKS5 = &s
	}
	nat, err := endpoint.ParseNAT(c.StringSlice(side + "-nat"))
	if err != nil {
		return fmt.Errorf("--%s-nat: %w", side, err)
	}
	spec.NAT = nat
	if spec.IsFile() && (c.String(side+"-ssh") != "" || c.String(side+"-socks5") != "" || len(nat) > 0) {
		return fmt.Errorf("--%s is a file, so that --ssh, --socks5 and NAT addresses have no meaning for it", side)
	}
	return nil
}

func setSSH(spec *endpoint.Spec, c *cli.Context, side string) error {
	flag := ofSide(c, side, "ssh")
	text := c.String(flag)
	if text == "" {
		for _, name := range []string{"ssh-key", "ssh-password-file", "ssh-known-hosts", "ssh-insecure"} {
			switch {
			case c.IsSet(side + "-" + name):
				return fmt.Errorf("--%s-%s has no meaning without --%s-ssh user@bastion", side, name, side)
			case c.IsSet(name) && c.String("source-ssh")+c.String("target-ssh")+c.String("trial-ssh") == "":
				return fmt.Errorf("--%s has no meaning without --ssh user@bastion", name)
			}
		}
		return nil
	}
	s, err := endpoint.ParseSSH(text)
	if err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	s.KeyFile = c.String(ofSide(c, side, "ssh-key"))
	s.KnownHosts = c.String(ofSide(c, side, "ssh-known-hosts"))
	s.Insecure = c.Bool(ofSide(c, side, "ssh-insecure"))
	s.Passphrase = secret(side, "SSH_PASSPHRASE")
	s.Password = secret(side, "SSH_PASSWORD")
	if flag := ofSide(c, side, "ssh-password-file"); c.String(flag) != "" {
		if s.Password, err = firstLine(c.String(flag)); err != nil {
			return fmt.Errorf("--%s: %w", flag, err)
		}
	}
	if s.Insecure && s.KnownHosts != "" {
		return fmt.Errorf("--%s-ssh-insecure and --%s-ssh-known-hosts cannot be used together; remove one of them", side, side)
	}
	spec.SSH = &s
	return nil
}

// listedNodes reads the node list of a side from its file, or from the config, which may contain the list itself.
func listedNodes(c *cli.Context, side string) ([]endpoint.ListedNode, error) {
	text, where := configNodes(c, side), "nodes of the "+side+" in the config"
	if file := c.String(side + "-nodes"); file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--%s-nodes: %w", side, err)
		}
		text, where = string(data), "--"+side+"-nodes "+file
	} else if text == "" {
		return nil, nil
	}
	nodes, err := endpoint.ParseNodes(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return nodes, nil
}

// firstLine reads a secret from the first line of a file.
func firstLine(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(data), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("the first line of %s is empty", file)
	}
	return line, nil
}
