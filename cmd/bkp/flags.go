package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/urfave/cli/v2"
)

// globalFlags are understood by every command.
func globalFlags() []cli.Flag {
	return []cli.Flag{
		textFlag("data", "", "keep identity, refs and chunks in `DIR` (default: bkp in the XDG data home)"),
		textFlag("config", "", "read settings from `FILE` (default: config.toml in the data directory)"),
		boolFlag("json", "print one JSON object a line"),
		boolFlag("quiet", "print errors and results only", "q"),
		boolFlag("verbose", "say what is going on", "v"),
		textFlag("progress", "auto", "show progress as `HOW`: auto, plain, json or none"),
		boolFlag("no-color", "print without colours"),
	}
}

// networkFlags are understood by every command that goes through a node.
func networkFlags() []cli.Flag {
	return []cli.Flag{
		textFlag("peers", "", "meet the peers of `LIST`: wss://NODEID@host:8001-20MiB,wss://other:8001 (a bare bandwidth is KiB per second)"),
		textFlag("token-file", "", "read the cluster token from `FILE` (or give it as BKP_CLUSTER_TOKEN)"),
		boolFlag("insecure-plaintext", "speak ws:// without TLS; a man in the middle is not stopped"),
		textFlag("trace", "", "append every control message to `FILE`, one JSON line each"),
	}
}

// identityFlags are understood by every command that opens the identity.
func identityFlags() []cli.Flag {
	return []cli.Flag{
		textFlag("passphrase-file", "", "read the passphrase of the identity from `FILE` (or give it as BKP_PASSPHRASE)"),
		textFlag("passphrase-command", "", "take the first line that `COMMAND` prints as the passphrase, as 'pass show bkp'"),
	}
}

func textFlag(name, value, usage string, aliases ...string) cli.Flag {
	return &cli.StringFlag{Name: name, Value: value, Usage: usage, Aliases: aliases}
}

// option is a flag whose value may be left out.
type option struct {
	*cli.StringFlag
	bare string // the value then
}

func optionFlag(name, bare, usage string) cli.Flag {
	return &option{&cli.StringFlag{Name: name, Usage: usage}, bare}
}

func boolFlag(name, usage string, aliases ...string) cli.Flag {
	return &cli.BoolFlag{Name: name, Usage: usage, Aliases: aliases, DisableDefaultText: true}
}

func intFlag(name string, value int, usage string) cli.Flag {
	return &cli.IntFlag{Name: name, Value: value, Usage: usage}
}

func listFlag(name, usage string) cli.Flag {
	return &cli.StringSliceFlag{Name: name, Usage: usage}
}

// fromEnvironment lets BKP_NAME set a flag; an empty one is as good as none, to cli too.
func fromEnvironment(f cli.Flag) {
	env := []string{environmentName(f.Names()[0])}
	if os.Getenv(env[0]) == "" {
		_ = os.Unsetenv(env[0])
	}
	switch f := f.(type) {
	case *cli.StringFlag:
		f.EnvVars = env
	case *option:
		f.EnvVars = env
	case *cli.BoolFlag:
		f.EnvVars = env
	case *cli.IntFlag:
		f.EnvVars = env
	case *cli.StringSliceFlag:
		f.EnvVars = env
	}
}

func environmentName(flag string) string {
	return "BKP_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// list reads a flag that may be repeated, or hold several values with commas between.
func (c *call) list(flag string) (values []string) {
	for _, given := range c.StringSlice(flag) {
		values = append(values, strings.Split(given, ",")...)
	}
	return values
}

// size reads a flag that is a number of bytes; empty is 0.
func (c *call) size(flag string) (core.Size, error) {
	if c.String(flag) == "" {
		return 0, nil
	}
	n, err := core.ParseSize(c.String(flag))
	if err != nil {
		return 0, usageError("--%s: %w", flag, err)
	}
	return n, nil
}

// rate reads a flag that is a bandwidth; empty is 0, no limit.
func (c *call) rate(flag string) (core.Rate, error) {
	if c.String(flag) == "" {
		return 0, nil
	}
	n, err := core.ParseRate(c.String(flag))
	if err != nil {
		return 0, usageError("--%s: %w", flag, err)
	}
	return n, nil
}

// calendar reads a flag that is a bandwidth or a calendar of bandwidths; empty is no limit.
func (c *call) calendar(flag string) (core.Calendar, error) {
	if c.String(flag) == "" {
		return core.Calendar{}, nil
	}
	k, err := core.ParseCalendar(c.String(flag))
	if err != nil {
		return k, usageError("--%s: %w", flag, err)
	}
	return k, nil
}

// span reads a flag that is a time span.
func (c *call) span(flag string) (time.Duration, error) {
	d, err := parseSpan(c.String(flag))
	if err != nil {
		return 0, usageError("--%s: %w", flag, err)
	}
	return d, nil
}

// parseSpan reads a time span in Go's units, or in d and y (of 365 days).
func parseSpan(s string) (time.Duration, error) {
	for unit, length := range map[string]time.Duration{"d": 24 * time.Hour, "y": 365 * 24 * time.Hour} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			n, err := strconv.ParseFloat(number, 64)
			if err != nil || !(n > 0) || n > 100_000/length.Hours()*24 {
				return 0, fmt.Errorf("%q is not a time span up to 270 years (write 90d, 2y or 36h)", s)
			}
			return time.Duration(n * float64(length)), nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not a time span (write 90d, 2y or 36h)", s)
	}
	return d, nil
}

// latest is the version that stands for the newest one.
const latest = "latest"

// nameVersion reads NAME, NAME@VERSION or NAME@latest; version 0 is the latest.
func nameVersion(s string) (name string, version int, err error) {
	at := strings.LastIndexByte(s, '@')
	if at > 0 && s[at+1:] == latest {
		return s[:at], 0, nil
	}
	if at < 0 || strings.Trim(s[at+1:], "0123456789") != "" || at == len(s)-1 {
		return s, 0, nil
	}
	version, err = strconv.Atoi(s[at+1:])
	if err != nil || version < 1 || at == 0 {
		return "", 0, usageError("%q: want NAME or NAME@VERSION, versions start at 1", s)
	}
	return s[:at], version, nil
}

// labelled reads k=v flags.
func labelled(flag string, values []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, kv := range values {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, usageError("--%s %q: want k=v", flag, kv)
		}
		if _, twice := labels[k]; twice {
			return nil, usageError("--%s %s is given twice", flag, k)
		}
		labels[k] = v
	}
	return labels, nil
}
