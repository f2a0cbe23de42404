// SPDX-License-Identifier: Apache-2.0

// Package datadir is the data directory: what stands where in it, and what commands and the node find, keep and lock
// there.
package datadir
