// SPDX-License-Identifier: Apache-2.0

package line

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/contract"
)

// PluginLimits is what [plugin] says of all plugins; 0 is bkp's default.
type PluginLimits struct {
	Start     time.Duration // until a plugin has said what it is
	Answer    time.Duration // for each call
	Memory    core.Size     // that each of its processes may write to
	Processes int           // that it may have
}

// set takes one KEY = VALUE; known tells whether there is such a key.
func (l *PluginLimits) set(key, value string) (known bool, err error) {
	switch key {
	case "start-timeout", "call-timeout":
		d, err := time.ParseDuration(value)
		if err != nil || d < time.Millisecond {
			return true, fmt.Errorf("%s = %s: want a time such as \"20s\"", key, value)
		}
		*map[string]*time.Duration{"start-timeout": &l.Start, "call-timeout": &l.Answer}[key] = d
	case "memory":
		if l.Memory, err = core.ParseSize(value); err != nil || l.Memory < 64*core.MiB {
			return true, fmt.Errorf("memory = %s: want a size such as \"512MiB\", at least 64MiB", value)
		}
	case "processes":
		if l.Processes, err = strconv.Atoi(value); err != nil || l.Processes < 1 {
			return true, fmt.Errorf("processes = %s: want a number from 1 on", value)
		}
	default:
		return false, nil
	}
	return true, nil
}

func (l PluginLimits) rows() (rows []Setting) {
	row := func(given bool, key string, value any) {
		if given {
			rows = append(rows, Setting{"plugin", fmt.Sprint(key, " = ", value), "config.toml"})
		}
	}
	row(l.Start > 0, "start-timeout", l.Start)
	row(l.Answer > 0, "call-timeout", l.Answer)
	row(l.Memory > 0, "memory", l.Memory)
	row(l.Processes > 0, "processes", l.Processes)
	return rows
}

// readPlugins reads [plugin] with the limits that all have, and [plugin.KIND.NAME]. Which keys the latter may have says
// the plugin, when it starts.
func (s *Settings) readPlugins(value any) error {
	const form = "write it as [plugin.KIND.NAME] with keys of that plugin, KIND being " +
		contract.KindWords + ", or [plugin] with start-timeout, call-timeout, memory and processes"
	s.Plugins = map[contract.Name]contract.Config{}
	table, _ := value.(map[string]any)
	for key, value := range table {
		if known, err := s.Limits.set(key, fmt.Sprint(value)); err != nil {
			return err
		} else if known {
			continue
		}
		names, ok := value.(map[string]any)
		if !ok || !slices.Contains(contract.Kinds, contract.Kind(key)) {
			return fmt.Errorf("%s: %s", key, form)
		}
		for name, value := range names {
			config, ok := value.(map[string]any)
			if !ok || !contract.ValidName(name) {
				return fmt.Errorf("%s.%s: %s", key, name, form)
			}
			s.Plugins[contract.Name{Kind: contract.Kind(key), Name: name}] = config
		}
	}
	return nil
}

func (s Settings) pluginSettings() []Setting {
	rows := s.Limits.rows()
	for n, config := range s.Plugins {
		for key, value := range config {
			rows = append(rows, Setting{fmt.Sprintf("plugin.%s.%s", n.Kind, n.Name), fmt.Sprint(key, " = ", value), "config.toml"})
		}
	}
	slices.SortFunc(rows, func(a, b Setting) int { return strings.Compare(a.Key+" "+a.Value, b.Key+" "+b.Value) })
	return rows
}
