// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"strings"
	"testing"
)

func TestListsOfStrategies(t *testing.T) {
	for list, want := range map[string]string{
		"seed":                            "[{seed 1 map[]}]",
		"cheapest=2, zone-spread":         "[{cheapest 2 map[]} {zone-spread 1 map[]}]",
		"seed:alpha=2":                    "[{seed 1 map[alpha:2]}]",
		"seed:alpha=2,beta=0.5,nearest":   "[{seed 1 map[alpha:2 beta:0.5]} {nearest 1 map[]}]",
		"nearest=3,seed=2:alpha=1,beta=0": "[{nearest 3 map[]} {seed 2 map[alpha:1 beta:0]}]",
		"seed:alpha=2,nearest=3:":         "[{seed 1 map[alpha:2]} {nearest 3 map[]}]",
		"mine:at=x:y,from=a:b":            "[{mine 1 map[at:x:y from:a:b]}]",
	} {
		got, err := parseStrategies(list)
		if text := fmt.Sprint(got); err != nil || text != want {
			t.Errorf("%s: %s %v, want %s", list, text, err, want)
		}
	}
	for list, says := range map[string]string{
		"seed=x": "no weight", "seed=-1": "no weight", "seed=NaN": "no weight", "seed:alpha": "no setting",
		"seed:=1": "no setting", "seed=x:alpha=1": "no weight",
	} {
		if _, err := parseStrategies(list); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %s", list, err, says)
		}
	}
}
