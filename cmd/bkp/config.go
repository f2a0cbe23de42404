package main

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
	"github.com/bkp-tool/bkp/core"
	"github.com/pelletier/go-toml/v2"
	"github.com/urfave/cli/v2"
)

// settings is config.toml: keys are flag names; [[trunk]], [links] and [issuers] are tables of their own.
type settings struct {
	data    string // the data directory
	path    string // of the file, whether it exists or not
	values  map[string]any
	trunks  []core.TrunkState
	links   map[string]core.Calendar // node ID or HOST:PORT: what this node gives the link
	issuers map[string]string        // owner ID: quota
}

// readSettings finds the data directory and reads the configuration. A file that --config names must exist.
func readSettings(cc *cli.Context) (settings, error) {
	s := settings{data: cc.String("data"), path: cc.String("config")}
	named := s.path != ""
	if s.data == "" {
		s.data = defaultData()
	}
	if !named {
		s.path = filepath.Join(s.data, "config.toml")
	}
	text, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return s.absolute()
	}
	if err != nil {
		return s, usageError("read configuration: %w", err)
	}
	if err := toml.Unmarshal(text, &s.values); err != nil {
		if bad, ok := errors.AsType[*toml.DecodeError](err); ok {
			row, col := bad.Position()
			return s, usageError("%s, line %d, column %d: %w", s.path, row, col, err)
		}
		return s, usageError("%s: %w", s.path, err)
	}
	if err := s.check(cc.App); err != nil {
		return s, usageError("%s: %w", s.path, err)
	}
	if dir, ok := s.values["data"]; ok && named && !cc.IsSet("data") {
		s.data = fmt.Sprint(dir)
	}
	return s.absolute()
}

func defaultData() string { return filepath.Join(xdg.DataHome, "bkp") }

func (s settings) absolute() (settings, error) {
	dir, err := filepath.Abs(s.data)
	s.data = dir
	return s, err
}

// check refuses keys that no command knows and reads the tables.
func (s *settings) check(app *cli.App) error {
	known := settable(app)
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		value := s.values[key]
		var err error
		switch {
		case key == "trunk":
			s.trunks, err = readTrunks(value)
		case key == "links":
			s.links, err = readLinks(value)
		case key == "issuers":
			s.issuers, err = readIssuers(value)
		case findFlag(known, key) == nil:
			known = append(known, &cli.BoolFlag{Name: "trunk"}, &cli.BoolFlag{Name: "links"},
				&cli.BoolFlag{Name: "issuers"})
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
func (s settings) fill(cc *cli.Context) error {
	for _, f := range cc.Command.Flags {
		name := f.Names()[0]
		value, ok := s.values[name]
		if !ok || cc.IsSet(name) || name == "data" || name == "config" {
			continue
		}
		words, err := setting(value)
		if err != nil {
			return usageError("%s: %s: %w", s.path, name, err)
		}
		if _, list := f.(*cli.StringSliceFlag); !list {
			words = []string{strings.Join(words, ",")}
		}
		for _, w := range words {
			if err := cc.Set(name, w); err != nil {
				return usageError("%s: %s = %q: %w", s.path, name, w, err)
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

// names tells whether [links] has a bandwidth for an entry of the peer list.
func (s settings) names(p core.Peer) bool {
	_, byAddress := s.links[p.Address()]
	_, byID := s.links[p.ID.String()]
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
				if name != "help" && name != "config" && findFlag(flags, name) == nil {
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
