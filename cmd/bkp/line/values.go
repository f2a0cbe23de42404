// SPDX-License-Identifier: Apache-2.0

package line

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/urfave/cli/v2"
)

// Flags is a command line with its settings: a flag wins over BKP_* in the environment, that over config.toml, and
// that over the default.
type Flags struct {
	*cli.Context
	Settings Settings
}

// Read reads the configuration and fills in every flag that the command line and the environment left open.
func Read(cc *cli.Context) (*Flags, error) {
	set, err := readSettings(cc)
	if err != nil {
		return nil, err
	}
	return &Flags{cc, set}, set.fill(cc)
}

// List reads a flag that may be repeated, or hold several values with commas between.
func (c *Flags) List(flag string) (values []string) {
	for _, given := range c.StringSlice(flag) {
		values = append(values, strings.Split(given, ",")...)
	}
	return values
}

// Size reads a flag that is a number of bytes; empty is 0.
func (c *Flags) Size(flag string) (core.Size, error) {
	if c.String(flag) == "" {
		return 0, nil
	}
	n, err := core.ParseSize(c.String(flag))
	if err != nil {
		return 0, UsageError("--%s: %w", flag, err)
	}
	return n, nil
}

// Rate reads a flag that is a bandwidth; empty is 0, no limit.
func (c *Flags) Rate(flag string) (core.Rate, error) {
	if c.String(flag) == "" {
		return 0, nil
	}
	n, err := core.ParseRate(c.String(flag))
	if err != nil {
		return 0, UsageError("--%s: %w", flag, err)
	}
	return n, nil
}

// Calendar reads a flag that is a bandwidth or a calendar of bandwidths; empty is no limit.
func (c *Flags) Calendar(flag string) (core.Calendar, error) {
	if c.String(flag) == "" {
		return core.Calendar{}, nil
	}
	k, err := core.ParseCalendar(c.String(flag))
	if err != nil {
		return k, UsageError("--%s: %w", flag, err)
	}
	return k, nil
}

// Span reads a flag that is a time span.
func (c *Flags) Span(flag string) (time.Duration, error) {
	d, err := core.ParseSpan(c.String(flag))
	if err != nil {
		return 0, UsageError("--%s: %w", flag, err)
	}
	return d, nil
}

// Share is a flag's share of a whole, as 5% or 0.05, above 0 and up to 1.
func (c *Flags) Share(flag string) (float64, error) {
	number, percent := strings.CutSuffix(c.String(flag), "%")
	share, err := strconv.ParseFloat(number, 64)
	if percent {
		share /= 100
	}
	if err != nil || !(share > 0 && share <= 1) {
		return 0, UsageError("--%s %q: want a share as 5%%, above 0 and up to 100%%", flag, c.String(flag))
	}
	return share, nil
}

// Given tells whether a flag stood on the command line.
func (c *Flags) Given(flag string) bool { return c.App.Metadata["given"].(map[string]bool)[flag] }

// Issuers is who may store here, of --issuer or [issuers].
func (c *Flags) Issuers() (map[core.ID]core.Size, error) {
	given := c.List("issuer")
	if len(given) == 0 {
		return parseIssuers(c.Settings.issuers)
	}
	words := map[string]string{}
	for _, g := range given {
		id, quota, _ := strings.Cut(g, "=")
		words[id] = quota
	}
	return parseIssuers(words)
}

// Again reads the configuration anew, for a process that runs on.
func (c *Flags) Again() (*Flags, error) {
	set, err := readSettings(c.Context)
	return &Flags{c.Context, set}, err
}

// Changed is what the configuration says of a flag that neither the command line nor the environment has set; false
// where one of them has.
func (c *Flags) Changed(flag string) (value string, changes bool) {
	if c.Given(flag) || os.Getenv(environmentName(flag)) != "" {
		return "", false
	}
	words, err := setting(c.Settings.values[flag])
	if err != nil {
		return "", true
	}
	return strings.Join(words, ","), true
}
