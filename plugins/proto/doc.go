// SPDX-License-Identifier: Apache-2.0

// Package proto is the gRPC protocol between bkp and its plugins, generated from the .proto files beside it.
//
// The service that a plugin offers is Strategy, Verifier, Notifier or Engine. Version 1 is what these files say; a field or
// call may be added to it, none is renumbered or given another meaning. `make proto` regenerates the Go code.
package proto
