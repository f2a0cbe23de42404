// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"reflect"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/plan/saved"
)

// TestEveryWishReachesThePlacement: a lock, and a frontier, were asked for, read, and left out on the way.
func TestEveryWishReachesThePlacement(t *testing.T) {
	asked := control.PlaceArgs{Name: "disk.img", Version: 1, Replicas: 2, Erasure: core.Erasure{K: 4, M: 2},
		AsBefore: true, Strategy: "seed", DryRun: true, Retain: 3, Lock: 4, KeepLocal: true, Exclude: []string{"a"},
		Only: []string{"b"}, Objective: "cost", Blend: 5, Deadline: 6, Frontier: true, Plan: &saved.Plan{}, Show: true,
		Record: true, Coordinator: "c", Export: "/d"}
	from, to := reflect.ValueOf(asked), reflect.ValueOf(placeArgs(asked))
	for i := range from.NumField() {
		name := from.Type().Field(i).Name
		switch field := to.FieldByName(name); {
		case from.Field(i).IsZero():
			t.Errorf("this test asks for no %s", name)
		case name == "Export": // a folder here, and there what writes to it: see Node.exported
		case !field.IsValid() || !reflect.DeepEqual(field.Interface(), from.Field(i).Interface()):
			t.Errorf("%s is left out", name)
		}
	}
}
