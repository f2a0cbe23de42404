// SPDX-License-Identifier: Apache-2.0

package core

import (
	"cmp"
	"fmt"
	"slices"
)

// Revoked is what an owner takes back: whatever nodes may do in its name, and single licences. Each list is in order,
// and has nothing twice.
type Revoked struct {
	Nodes    []ID        `json:"nodes"`              // that may do nothing for the owner any more
	Licenses []LicenseID `json:"licenses,omitempty"` // under which nothing new is kept
}

// Names reports whether a node is on the list.
func (r Revoked) Names(node ID) bool {
	_, found := slices.BinarySearchFunc(r.Nodes, node, ID.Compare)
	return found
}

// NamesLicense reports whether a licence is on the list.
func (r Revoked) NamesLicense(id LicenseID) bool {
	_, found := slices.BinarySearchFunc(r.Licenses, id, LicenseID.Compare)
	return found
}

// With is both lists in one.
func (r Revoked) With(other Revoked) Revoked {
	return Revoked{sorted(ID.Compare, r.Nodes, other.Nodes),
		sorted(LicenseID.Compare, r.Licenses, other.Licenses)}
}

// sorted is what is in one of the lists, in order and each once.
func sorted[T comparable](compare func(a, b T) int, lists ...[]T) []T {
	all := slices.Concat(lists...)
	slices.SortFunc(all, compare)
	return slices.Compact(all)
}

// Lacks reports whether something of another list is not in this one.
func (r Revoked) Lacks(other Revoked) bool {
	return slices.ContainsFunc(other.Nodes, func(id ID) bool { return !r.Names(id) }) ||
		slices.ContainsFunc(other.Licenses, func(id LicenseID) bool { return !r.NamesLicense(id) })
}

// Compare orders lists, in no way that means anything.
func (r Revoked) Compare(other Revoked) int {
	return cmp.Or(slices.CompareFunc(r.Nodes, other.Nodes, ID.Compare),
		slices.CompareFunc(r.Licenses, other.Licenses, LicenseID.Compare))
}

// Check wants the lists in order, nothing twice, and nothing that is zero.
func (r Revoked) Check() error {
	switch {
	case !inOrder(r.Nodes, ID.Compare):
		return fmt.Errorf("its nodes are not in order, each once")
	case !inOrder(r.Licenses, LicenseID.Compare):
		return fmt.Errorf("its licences are not in order, each once")
	}
	return nil
}

func inOrder[T any](list []T, compare func(a, b T) int) bool {
	var last T // zero
	for _, x := range list {
		if compare(x, last) <= 0 {
			return false
		}
		last = x
	}
	return true
}
