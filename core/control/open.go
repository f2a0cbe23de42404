// SPDX-License-Identifier: Apache-2.0

package control

import "github.com/bkp-tool/bkp/core"

// OpenArgs asks for a version to be opened for reading at any place, until whoever asked hangs up: by HTTP at Listen,
// as HOST:PORT, as a file in the directory Mount, an absolute path, or as a network block device at NBD, as HOST:PORT.
// To that one can write, unless it is ReadOnly: into the file Overlay, an absolute path, or into one that goes at the
// end.
type OpenArgs struct {
	Name    string `json:"name"`
	Version int    `json:"version"` // 0: the newest
	Listen  string `json:"listen,omitempty"`
	Mount   string `json:"mount,omitempty"`

	NBD      string `json:"nbd,omitempty"`
	Overlay  string `json:"overlay,omitempty"`
	ReadOnly bool   `json:"read_only,omitempty"`
	Fetch    bool   `json:"fetch,omitempty"` // bring all of it into the overlay meanwhile
}

// PhaseOpen is the phase of a status whose text says where the version is read now.
const PhaseOpen = "open"

// OpenResult is what was opened.
type OpenResult struct {
	Name    string    `json:"name"`
	Version int       `json:"version"`
	Bytes   core.Size `json:"bytes"` // of the file
	Seconds float64   `json:"seconds"`
}
