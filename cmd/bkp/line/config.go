// SPDX-License-Identifier: Apache-2.0

package line

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/adrg/xdg"
	"github.com/bkp-tool/bkp/cmd/bkp/job"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/plugins/contract"
	"github.com/pelletier/go-toml/v2"
	"github.com/urfave/cli/v2"
)

// Settings is config.toml: keys are flag names; [[trunk]], [links], [issuers], [plugin.KIND.NAME] and [job.NAME] are
// tables of their own.
type Settings struct {
	Data    string // the data directory
	Path    string // of the file, whether it exists or not
	values  map[string]any
	Trunks  []core.TrunkState
	Links   map[string]core.Calendar // node ID or HOST:PORT: what this node gives the link
	issuers map[string]string        // owner ID: quota
	Plugins map[contract.Name]contract.Config
	Limits  PluginLimits
	Jobs    []job.Job
}

// readSettings finds the data directory and reads the configuration. A file that --config names must exist.
func readSettings(cc *cli.Context) (Settings, error) {
	s := Settings{Data: cc.String("data"), Path: cc.String("config")}
	named := s.Path != ""
	if s.Data == "" {
		s.Data = DefaultData()
	}
	if !named {
		s.Path = filepath.Join(s.Data, "config.toml")
	}
	text, err := os.ReadFile(s.Path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return s.absolute()
	}
	if err != nil {
		return s, UsageError("read configuration: %w", err)
	}
	if err := toml.Unmarshal(text, &s.values); err != nil {
		if bad, ok := errors.AsType[*toml.DecodeError](err); ok {
			row, col := bad.Position()
			return s, UsageError("%s, line %d, column %d: %w", s.Path, row, col, err)
		}
		return s, UsageError("%s: %w", s.Path, err)
	}
	if err := s.check(cc.App); err != nil {
		return s, UsageError("%s: %w", s.Path, err)
	}
	if dir, ok := s.values["data"]; ok && named && !cc.IsSet("data") {
		s.Data = fmt.Sprint(dir)
	}
	return s.absolute()
}

// DefaultData is the data directory of a user who names none.
func DefaultData() string { return filepath.Join(xdg.DataHome, "bkp") }

func (s Settings) absolute() (Settings, error) {
	dir, err := filepath.Abs(s.Data)
	s.Data = dir
	return s, err
}

// check refuses keys that no command knows and reads the tables.
func (s *Settings) check(app *cli.App) error {
	known := settable(app)
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		value := s.values[key]
		var err error
		switch {
		case key == "trunk":
			s.Trunks, err = readTrunks(value)
		case key == "links":
			s.Links, err = readLinks(value)
		case key == "issuers":
			s.issuers, err = readIssuers(value)
		case key == "plugin":
			err = s.readPlugins(value)
		case key == "job":
			s.Jobs, err = readJobs(app, value)
		case FindFlag(known, key) == nil:
			known = append(known, &cli.BoolFlag{Name: "trunk"}, &cli.BoolFlag{Name: "links"},
				&cli.BoolFlag{Name: "issuers"}, &cli.BoolFlag{Name: "plugin"}, &cli.BoolFlag{Name: "job"})
			err := fmt.Errorf("unknown key %q", key)
			near := strings.TrimLeft(cli.SuggestFlag(known, key, true), "-")
			return core.WithHint(err, "the nearest known key is %q; bkp config show lists them", near)
		default:
			_, err = setting(value)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

// fill sets every flag of the command that neither the command line nor the environment has set.
func (s Settings) fill(cc *cli.Context) error {
	for _, f := range cc.Command.Flags {
		name := f.Names()[0]
		value, ok := s.values[name]
		if !ok || cc.IsSet(name) || name == "data" || name == "config" {
			continue
		}
		words, err := setting(value)
		if err != nil {
			return UsageError("%s: %s: %w", s.Path, name, err)
		}
		if _, list := f.(*cli.StringSliceFlag); !list {
			words = []string{strings.Join(words, ",")}
		}
		for _, w := range words {
			if err := cc.Set(name, w); err != nil {
				return UsageError("%s: %s = %q: %w", s.Path, name, w, err)
			}
		}
	}
	return nil
}

// setting is a TOML value as a flag takes it: a list has a word an element.
func setting(value any) ([]string, error) {
	switch v := value.(type) {
	case string, bool, int64, float64:
		return []string{fmt.Sprint(v)}, nil
	case []any:
		var words []string
		for _, e := range v {
			w, err := setting(e)
			if err != nil {
				return nil, err
			}
			words = append(words, w...)
		}
		return words, nil
	}
	return nil, fmt.Errorf("want text, a number, true or false, or a list of them")
}

func readTrunks(value any) ([]core.TrunkState, error) {
	rows, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("write it as [[trunk]] with from, to and rate")
	}
	var trunks []core.TrunkState
	for i, row := range rows {
		t, _ := row.(map[string]any)
		for key := range t {
			if key != "from" && key != "to" && key != "rate" {
				return nil, fmt.Errorf("entry %d: unknown key %q (from, to, rate)", i+1, key)
			}
		}
		from, _ := t["from"].(string)
		to, _ := t["to"].(string)
		rate, err := core.ParseRate(fmt.Sprint(t["rate"]))
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
		if from == "" || to == "" || from == to {
			return nil, fmt.Errorf("entry %d: from and to are two different zones", i+1)
		}
		trunks = append(trunks, core.TrunkState{From: from, To: to, Rate: rate})
	}
	return trunks, nil
}

// readLinks reads [links]: a bandwidth or a calendar for the peer with an ID or an address.
func readLinks(value any) (map[string]core.Calendar, error) {
	table, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf(`write it as [links] with "NODEID" or "HOST:PORT" = "22:00-06:00=50MiB,else=5MiB"`)
	}
	links := map[string]core.Calendar{}
	for name, bandwidth := range table {
		id, err := core.ParseID(name)
		if host, port, bad := net.SplitHostPort(name); err != nil && bad == nil {
			p, bad := core.ParsePeer("wss://" + net.JoinHostPort(host, port))
			name, err = p.Address(), bad
		} else if err == nil {
			name = id.String()
		}
		if err != nil {
			return nil, fmt.Errorf("%q is neither a node's ID nor HOST:PORT", name)
		}
		words, err := setting(bandwidth)
		var c core.Calendar
		if err == nil {
			c, err = core.ParseCalendar(strings.Join(words, ","))
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		case c.Lifted():
			return nil, fmt.Errorf("%s: a link needs a figure at all times, it cannot be unlimited", name)
		}
		links[name] = c
	}
	return links, nil
}

// Names tells whether [links] has a bandwidth for an entry of the peer list.
func (s Settings) Names(p core.Peer) bool {
	_, byAddress := s.Links[p.Address()]
	_, byID := s.Links[p.ID.String()]
	return byAddress || byID
}

func readIssuers(value any) (map[string]string, error) {
	table, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf(`write it as [issuers] with OWNERID = "QUOTA"`)
	}
	issuers := map[string]string{}
	for id, quota := range table {
		issuers[id] = fmt.Sprint(quota)
	}
	_, err := parseIssuers(issuers)
	return issuers, err
}

// settable is every flag that may stand in the configuration, each once, by name.
func settable(app *cli.App) []cli.Flag {
	var flags []cli.Flag
	var walk func([]*cli.Command)
	walk = func(commands []*cli.Command) {
		for _, c := range commands {
			for _, f := range c.Flags {
				name := f.Names()[0]
				if name != "help" && name != "config" && FindFlag(flags, name) == nil {
					flags = append(flags, f)
				}
			}
			walk(c.Subcommands)
		}
	}
	walk(app.Commands)
	slices.SortFunc(flags, func(a, b cli.Flag) int { return strings.Compare(a.Names()[0], b.Names()[0]) })
	return flags
}

// parseIssuers reads owner IDs and their quotas; without a quota the node's capacity is the limit.
func parseIssuers(words map[string]string) (map[core.ID]core.Size, error) {
	issuers := map[core.ID]core.Size{}
	for text, quota := range words {
		id, err := core.ParseID(text)
		if err != nil {
			return nil, UsageError("issuer: %w", err)
		}
		if _, twice := issuers[id]; twice {
			return nil, UsageError("issuer %s is given twice", id.Short())
		}
		issuers[id] = 0
		if quota != "" && quota != "0" {
			if issuers[id], err = core.ParseSize(quota); err != nil {
				return nil, UsageError("issuer %s: quota: %w", id.Short(), err)
			}
		}
	}
	return issuers, nil
}

// Keeps tells whether a limit that was changed stands in config.toml alike.
func (s Settings) Keeps(l control.LimitRow) bool {
	if !l.Changed {
		return true
	}
	if l.Account == "link" {
		for _, name := range []string{l.Peer.String(), l.Address} {
			if c, ok := s.Links[name]; ok {
				return c.String() == l.Bandwidth
			}
		}
		return false
	}
	words, err := setting(s.values[l.Account])
	if err != nil {
		return false
	}
	c, err := core.ParseCalendar(strings.Join(words, ","))
	return err == nil && c.String() == l.Bandwidth
}

// Setting is one setting, its value, and where that comes from.
type Setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	From  string `json:"from"` // "flag", "environment", "config.toml" or "default"
}

// Origins lists every setting as a command would see it.
func (s Settings) Origins(app *cli.App, cc *cli.Context) []Setting {
	var rows []Setting
	given := app.Metadata["given"].(map[string]bool)
	for _, f := range settable(app) {
		name := f.Names()[0]
		row := Setting{Key: name, From: "default"}
		if d, ok := f.(cli.DocGenerationFlag); ok && d.TakesValue() {
			row.Value = strings.Trim(d.GetDefaultText(), `"`)
		} else {
			row.Value = "false"
		}
		if value, ok := s.values[name]; ok {
			words, _ := setting(value)
			row.Value, row.From = strings.Join(words, ","), "config.toml"
		}
		if value, ok := os.LookupEnv(environmentName(name)); ok && value != "" {
			row.Value, row.From = value, "environment"
		}
		if given[name] {
			row.Value, row.From = cc.String(name), "flag"
		}
		if name == "data" {
			row.Value = s.Data
		}
		rows = append(rows, row)
	}
	for _, t := range s.Trunks {
		rows = append(rows, Setting{"trunk", t.From + " to " + t.To + ": " + t.Rate.String(), "config.toml"})
	}
	for _, peer := range slices.Sorted(maps.Keys(s.Links)) {
		rows = append(rows, Setting{"links", peer + ": " + s.Links[peer].String(), "config.toml"})
	}
	for _, id := range slices.Sorted(maps.Keys(s.issuers)) {
		rows = append(rows, Setting{"issuers", id + " = " + s.issuers[id], "config.toml"})
	}
	for _, j := range s.Jobs {
		rows = append(rows, Setting{"job." + j.Name, j.When + ": " + j.What(), "config.toml"})
	}
	return append(rows, s.pluginSettings()...)
}

// Has tells whether a key stands in config.toml.
func (s Settings) Has(key string) bool { return s.values[key] != nil }

// Value is what config.toml says of a key, as a flag takes it.
func (s Settings) Value(key string) string {
	words, err := setting(s.values[key])
	if err != nil {
		return ""
	}
	return strings.Join(words, ",")
}

// Quote is a text as a TOML file has it.
func Quote(text string) string {
	quoted, err := toml.Marshal(map[string]string{"k": text})
	if err != nil {
		panic(err) // a string can be written
	}
	return strings.TrimSpace(strings.TrimPrefix(string(quoted), "k = "))
}
