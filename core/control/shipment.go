// SPDX-License-Identifier: Apache-2.0

package control

import "github.com/bkp-tool/bkp/core"

// ImportArgs asks for what came on a disk.
type ImportArgs struct {
	Folder string `json:"folder"` // absolute path: of the disk, or of a shipment on it
}

// ImportResult is what was taken of it.
type ImportResult struct {
	Shipments []Shipment `json:"shipments"` // for this node
	Others    []string   `json:"others"`    // nodes that other shipments on the disk are for
	Seconds   float64    `json:"seconds"`
}

// Shipment is what of one version was on a disk for this node, and what became of it.
type Shipment struct {
	Folder   string      `json:"folder"`
	Task     core.TaskID `json:"task"`
	Owner    core.ID     `json:"owner,omitzero"`
	Alias    string      `json:"alias,omitempty"`
	Version  int         `json:"version,omitzero"`
	Segments int         `json:"segments"` // that were taken, in whole or in part
	Runs     int         `json:"runs"`     // that were taken: durable here, and receipted
	Bytes    core.Size   `json:"bytes"`    // of those
	Had      core.Size   `json:"had"`      // what was here already, or on its way
	Missing  core.Size   `json:"missing"`  // what is to be kept here, and is not on the disk
	Wrong    core.Size   `json:"wrong"`    // what is on it, and could not be read or has other bytes
	Problems []Problem   `json:"problems"` // the first of what was refused or is wrong
	More     int         `json:"more"`     // problems that are not listed
	Code     core.Code   `json:"code"`     // 0: all of it is here; 3: something is missing; 12: refused; 14: wrong
}

// Problem is something on a disk that was not taken, and why.
type Problem struct {
	File string `json:"file"` // within the folder of the shipment
	Text string `json:"text"`
}
