// SPDX-License-Identifier: Apache-2.0

package line

import (
	"os"
	"strconv"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/urfave/cli/v2"
)

// Text is a flag with a value.
func Text(name, value, usage string, aliases ...string) cli.Flag {
	return &cli.StringFlag{Name: name, Value: value, Usage: usage, Aliases: aliases}
}

// option is a flag whose value may be left out.
type option struct {
	*cli.StringFlag
	bare string // the value then
}

// Option is a flag whose value may be left out: it is bare then.
func Option(name, bare, usage string) cli.Flag {
	return &option{&cli.StringFlag{Name: name, Usage: usage}, bare}
}

// Bool is a flag without a value.
func Bool(name, usage string, aliases ...string) cli.Flag {
	return &cli.BoolFlag{Name: name, Usage: usage, Aliases: aliases, DisableDefaultText: true}
}

// Int is a flag with a number.
func Int(name string, value int, usage string) cli.Flag {
	return &cli.IntFlag{Name: name, Value: value, Usage: usage}
}

// List is a flag that may be repeated.
func List(name, usage string) cli.Flag {
	return &cli.StringSliceFlag{Name: name, Usage: usage}
}

// FromEnvironment lets BKP_NAME set a flag; an empty one is as good as none, to cli too.
func FromEnvironment(f cli.Flag) {
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

// Latest is the version that stands for the newest one.
const Latest = "latest"

// NameVersion reads NAME, NAME@VERSION or NAME@latest; version 0 is the latest.
func NameVersion(s string) (name string, version int, err error) {
	at := strings.LastIndexByte(s, '@')
	if at > 0 && s[at+1:] == Latest {
		return s[:at], 0, nil
	}
	if at < 0 || strings.Trim(s[at+1:], "0123456789") != "" || at == len(s)-1 {
		return s, 0, nil
	}
	version, err = strconv.Atoi(s[at+1:])
	if err != nil || version < 1 || at == 0 {
		return "", 0, UsageError("%q: want NAME or NAME@VERSION, versions start at 1", s)
	}
	return s[:at], version, nil
}

// Labelled reads k=v flags.
func Labelled(flag string, values []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, kv := range values {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, UsageError("--%s %q: want k=v", flag, kv)
		}
		if _, twice := labels[k]; twice {
			return nil, UsageError("--%s %s is given twice", flag, k)
		}
		labels[k] = v
	}
	return labels, nil
}

// UsageError is a mistake on the command line or in the configuration.
func UsageError(format string, args ...any) error { return core.Fail(core.CodeUsage, format, args...) }
