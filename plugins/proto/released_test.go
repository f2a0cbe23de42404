// SPDX-License-Identifier: Apache-2.0

package proto

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Plugins that were built once are used with later releases of bkp: what stands in testdata/released.txt stays as it
// is. What is new is written there with the release that has it; this test tells the lines.
func TestFloorsNothingOfTheContractChanges(t *testing.T) {
	text, err := os.ReadFile("testdata/released.txt")
	if err != nil {
		t.Fatal(err)
	}
	released := strings.Split(strings.TrimSpace(string(text)), "\n")
	var now []string
	for _, file := range []protoreflect.FileDescriptor{File_columns_proto, File_setting_proto, File_strategy_proto, File_verifier_proto,
		File_notifier_proto, File_engine_proto} {
		now = append(now, described(file)...)
	}
	slices.Sort(now)
	for _, line := range released {
		if !slices.Contains(now, line) {
			t.Errorf("the contract had, and has no more: %s", line)
		}
	}
	for _, line := range now {
		if !slices.Contains(released, line) {
			t.Errorf("new in the contract, and not in testdata/released.txt: %s", line)
		}
	}
}

// described is a line for each field and call of a file.
func described(file protoreflect.FileDescriptor) (lines []string) {
	var message func(protoreflect.MessageDescriptor)
	message = func(m protoreflect.MessageDescriptor) {
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			kind := f.Kind().String()
			if f.Message() != nil {
				kind = string(f.Message().FullName())
			}
			lines = append(lines, fmt.Sprintf("%s = %d %s %s", f.FullName(), f.Number(), f.Cardinality(), kind))
		}
		for i := range m.Messages().Len() {
			message(m.Messages().Get(i))
		}
	}
	for i := range file.Messages().Len() {
		message(file.Messages().Get(i))
	}
	for i := range file.Services().Len() {
		calls := file.Services().Get(i).Methods()
		for j := range calls.Len() {
			c := calls.Get(j)
			lines = append(lines, fmt.Sprintf("%s(%s) %s", c.FullName(), c.Input().FullName(), c.Output().FullName()))
		}
	}
	return lines
}
