// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"math"
	"slices"
	"testing"
)

func TestMedians(t *testing.T) {
	rows := medians([]figure{
		{Case: "a", Who: "old", Seconds: 10, Ratio: 1}, {Case: "a", Who: "bkp", Seconds: 9, Ratio: .9},
		{Case: "a", Who: "old", Seconds: 12, Ratio: 1.2}, {Case: "a", Who: "bkp", Seconds: 99, Error: "no"},
		{Case: "a", Who: "old", Seconds: 30, Ratio: 3}, {Case: "a", Who: "bkp", Seconds: 12, Ratio: 1.2}})
	want := []median{{Case: "a", Who: "old", Rounds: 3, Seconds: 12, Ratio: 1.2},
		{Case: "a", Who: "bkp", Rounds: 2, Failed: 1, Seconds: 10.5, Ratio: 1.05, OfOld: 0.875}}
	if len(rows) == 2 {
		rows[1].Ratio = math.Round(1e9*rows[1].Ratio) / 1e9
	}
	if !slices.Equal(rows, want) {
		t.Errorf("%+v, want %+v", rows, want)
	}
}

func TestCoreCases(t *testing.T) {
	chosen, err := choose("core,kill")
	if err != nil || len(chosen) != 7 || chosen[3].name != "fetch4" || chosen[6].name != "kill" {
		t.Errorf("%v %v", chosen, err)
	}
}
