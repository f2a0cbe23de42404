// SPDX-License-Identifier: Apache-2.0

package control

import "github.com/bkp-tool/bkp/core"

// OpenArgs asks for a version to be opened for reading at any place, until whoever asked hangs up: by HTTP at Listen,
// as HOST:PORT, or as a file in the directory Mount, an absolute path.
type OpenArgs struct {
	Name    string `json:"name"`
	Version int    `json:"version"` // 0: the newest
	Listen  string `json:"listen,omitempty"`
	Mount   string `json:"mount,omitempty"`
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
