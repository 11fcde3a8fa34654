package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"surecut/internal/endpoint"
)

// endpoints is the source and the target that a command was given.
type endpoints = endpoint.Specs

// sourceFlags returns the flags that name the source and how to reach it.
func sourceFlags() []cli.Flag {
	return append(endpointFlags("source", "; or rdb:PATH, aof:PATH"), bothRouteFlags()...)
}

// targetFlags returns the flags that name the target and how to reach it.
func targetFlags() []cli.Flag { return endpointFlags("target", "") }

// endpointFlags returns the flags of one endpoint: of the source, of the target or of a trial. beside ends the usage of the URL
// flag with what that flag accepts besides URLs.
func endpointFlags(side, beside string) []cli.Flag {
	category := strings.ToUpper(side[:1]) + side[1:]
	text := func(name, usage string) cli.Flag {
		return &cli.StringFlag{Name: side + name, Usage: usage, Category: category}
	}
	return append([]cli.Flag{
		text("", "the "+side+"'s `URL`: redis://[user[:password]@]host:port[/db], redis+sentinel://host:port,.../master-name[/db], redis+cluster://host:port,..., redis+twemproxy://proxy:port?config=FILE or redis+codis://proxy:port; rediss for TLS"+beside),
		text("-password-file", "`FILE` whose first line is the password; or set "+passwordVariable(side)),
		text("-sentinel-user", "`USER` of the "+side+"'s sentinels, which have their own users and passwords"),
		text("-sentinel-password-file", "`FILE` whose first line is the password of the "+side+"'s sentinels; or set "+sentinelPasswordVariable(side)),
		text("-ca", "PEM `FILE` with the certificate authorities that the "+side+"'s certificate is checked against"),
		text("-cert", "PEM `FILE` of the client's certificate"),
		text("-key", "PEM `FILE` of the client's key"),
		text("-server-name", "`NAME` that the "+side+"'s certificate must carry, if that is not the host in the URL"),
		&cli.BoolFlag{Name: side + "-insecure", Usage: "do not check the " + side + "'s certificate", Category: category},
	}, routeFlags(side, category)...)
}

func passwordVariable(side string) string { return "SURECUT_" + strings.ToUpper(side) + "_PASSWORD" }

func sentinelPasswordVariable(side string) string {
	return "SURECUT_" + strings.ToUpper(side) + "_SENTINEL_PASSWORD"
}

// endpointSpecs reads both sides from the flags. Every problem is a usage error.
func endpointSpecs(c *cli.Context) (endpoints, error) {
	source, errSource := sourceSpec(c)
	target, errTarget := endpointSpec(c, "target")
	if errTarget == nil && target.IsFile() {
		errTarget = errors.New("--target: a file can only be a source")
	}
	if err := errors.Join(errSource, errTarget); err != nil {
		return endpoints{}, usageError("%w", err)
	}
	return endpoints{Source: source, Target: target}, nil
}

// sourceSpec reads only the source, for commands that have no target.
func sourceSpec(c *cli.Context) (endpoint.Spec, error) {
	spec, err := endpointSpec(c, "source")
	if err != nil {
		return spec, usageError("%w", err)
	}
	return spec, nil
}

func endpointSpec(c *cli.Context, side string) (endpoint.Spec, error) {
	raw := c.String(side)
	nodes, err := listedNodes(c, side)
	if err != nil {
		return endpoint.Spec{}, err
	}
	if raw == "" && len(nodes) > 0 {
		return endpoint.Spec{}, fmt.Errorf("--%s is missing; say what kind of deployment its nodes form, as in --%s redis+cluster://", side, side)
	}
	if raw == "" {
		return endpoint.Spec{}, fmt.Errorf("--%s is missing; give the URL of the %s, as in --%s redis://host:6379", side, side, side)
	}
	spec, err := endpoint.ParseListed(raw, nodes)
	if err != nil {
		return spec, fmt.Errorf("--%s: %w", side, err)
	}
	if err := errors.Join(setPassword(&spec, c, side), setSentinel(&spec, c, side)); err != nil {
		return spec, err
	}
	if err := setRoute(&spec, c, side); err != nil {
		return spec, err
	}
	return spec, setTLS(&spec, c, side)
}

// setPassword sets the password from the file, the URL or the environment, in this order. A password in both the file and the URL
// is an error.
func setPassword(spec *endpoint.Spec, c *cli.Context, side string) error {
	file := c.String(side + "-password-file")
	switch {
	case file != "" && spec.Password != "":
		return fmt.Errorf("the URL of --%s contains a password, and --%s-password-file is given as well; use only one of them", side, side)
	case file != "":
		var err error
		if spec.Password, err = firstLine(file); err != nil {
			return fmt.Errorf("--%s-password-file: %w", side, err)
		}
	case spec.Password == "" && !spec.IsFile():
		spec.Password = os.Getenv(passwordVariable(side))
	}
	return nil
}

// setSentinel sets the user and the password for the sentinels from the flags. Without the flag for the password, it comes from the
// environment.
func setSentinel(spec *endpoint.Spec, c *cli.Context, side string) (err error) {
	user, file := c.String(side+"-sentinel-user"), c.String(side+"-sentinel-password-file")
	if spec.Kind != endpoint.Sentinel {
		if user != "" || file != "" {
			return fmt.Errorf("the sentinel flags of the %s need a URL that begins with redis+sentinel://, but --%s is %s", side, side, spec)
		}
		return nil
	}
	spec.SentinelUsername, spec.SentinelPassword = user, os.Getenv(sentinelPasswordVariable(side))
	if file != "" {
		if spec.SentinelPassword, err = firstLine(file); err != nil {
			return fmt.Errorf("--%s-sentinel-password-file: %w", side, err)
		}
	}
	return nil
}

// setTLS sets the certificates from the flags, which are an error if the URL does not ask for TLS.
func setTLS(spec *endpoint.Spec, c *cli.Context, side string) error {
	t := endpoint.TLS{
		CAFile:             c.String(side + "-ca"),
		CertFile:           c.String(side + "-cert"),
		KeyFile:            c.String(side + "-key"),
		ServerName:         c.String(side + "-server-name"),
		InsecureSkipVerify: c.Bool(side + "-insecure"),
	}
	switch {
	case t == endpoint.TLS{}:
	case spec.TLS == nil:
		return fmt.Errorf("the TLS flags of the %s need a URL that begins with rediss, but --%s is %s", side, side, spec)
	case (t.CertFile == "") != (t.KeyFile == ""):
		return fmt.Errorf("--%s-cert and --%s-key must be given together; one of them is missing", side, side)
	default:
		*spec.TLS = t
	}
	return nil
}
