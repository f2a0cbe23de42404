// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/bkp-tool/bkp/core"
)

// Config is the configuration of one plugin: its settings that were given, as TOML or JSON read them.
type Config map[string]any

// Encode makes JSON of a configuration, for a plugin that has such settings: a key that it does not have, or a value of
// another type, is an error. Where a plugin lists no settings, nothing is checked.
func (c Config) Encode(settings []core.Setting) ([]byte, error) {
	out := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(c)) {
		i := slices.IndexFunc(settings, func(s core.Setting) bool { return s.Key == key })
		if i < 0 && len(settings) > 0 {
			return nil, unknownSetting(key, settings)
		}
		value := c[key]
		if i >= 0 {
			var ok bool
			if value, ok = fit(value, settings[i].Type); !ok {
				return nil, fmt.Errorf("%s = %v: want %s (%s)", key, c[key], word(settings[i].Type), settings[i].About)
			}
		}
		out[key] = value
	}
	return json.Marshal(out)
}

func unknownSetting(key string, settings []core.Setting) error {
	var keys []string
	near, least := "", math.MaxInt
	for _, s := range settings {
		keys = append(keys, s.Key)
		if d := distance(key, s.Key); d < least {
			near, least = s.Key, d
		}
	}
	err := fmt.Errorf("unknown setting %q", key)
	if least <= max(1, len(near)/3) {
		return core.WithHint(err, "did you mean %s? it has %s", near, strings.Join(keys, ", "))
	}
	return core.WithHint(err, "it has %s", strings.Join(keys, ", "))
}

// distance is how many letters are added, left out or changed between two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func word(kind string) string {
	switch kind {
	case "array", "integer", "object":
		return "an " + kind
	default:
		return "a " + kind
	}
}

// fit makes a value one of that type of JSON, where it is one.
func fit(value any, kind string) (any, bool) {
	switch v := value.(type) {
	case Text:
		return v.as(kind)
	case string:
		return v, kind == "string"
	case bool:
		return v, kind == "boolean"
	case int64:
		return v, kind == "integer" || kind == "number"
	case float64:
		if kind == "integer" {
			return int64(v), v == math.Trunc(v) && math.Abs(v) < 1<<53
		}
		return v, kind == "number" && !math.IsNaN(v) && !math.IsInf(v, 0)
	case []any:
		return v, kind == "array"
	case map[string]any:
		return v, kind == "object"
	}
	return value, false
}

// Text is a value as somebody typed it on a command line: of which type it is depends on the setting.
type Text string

func (t Text) as(kind string) (any, bool) {
	if kind == "string" {
		return string(t), true
	}
	if kind == "integer" { // not by way of a float64
		n, err := strconv.ParseInt(string(t), 10, 64)
		return n, err == nil
	}
	var v any
	if json.Unmarshal([]byte(t), &v) != nil {
		return t, false
	}
	return fit(v, kind)
}

// MarshalJSON is for settings whose type the plugin does not tell: what reads as JSON is that, all else a string.
func (t Text) MarshalJSON() ([]byte, error) {
	if json.Valid([]byte(t)) {
		return []byte(t), nil
	}
	return json.Marshal(string(t))
}

// CheckSettings reports what is wrong with the settings that a plugin lists.
func CheckSettings(settings []core.Setting) error {
	seen := map[string]bool{}
	for _, s := range settings {
		switch {
		case s.Key == "" || strings.ContainsAny(s.Key, " ,=:.\n\t\"'"):
			return fmt.Errorf("setting %q: not a key", s.Key)
		case seen[s.Key]:
			return fmt.Errorf("setting %s is listed twice", s.Key)
		case s.About == "" || s.About != Clean(s.About):
			return fmt.Errorf("setting %s: want one line about it", s.Key)
		}
		seen[s.Key] = true
		if !slices.Contains([]string{"string", "integer", "number", "boolean", "array", "object"}, s.Type) {
			return fmt.Errorf("setting %s: %q is no type of JSON", s.Key, Clean(s.Type))
		}
		_, ok := Text(s.Default).as(s.Type)
		if s.Type == "string" { // as typed, all is one
			ok = json.Unmarshal([]byte(s.Default), new(string)) == nil
		}
		if s.Default != "" && !ok {
			return fmt.Errorf("setting %s: the default %s is not %s", s.Key, Clean(s.Default), word(s.Type))
		}
	}
	return nil
}
