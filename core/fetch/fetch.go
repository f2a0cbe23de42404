// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
)

// Fetcher reaches versions of an owner from a node. Its parts must be safe for many goroutines, and it is then.
type Fetcher struct {
	Self      core.ID // the node
	Owner     *key.Owner
	Here      Here
	Refs      Refs
	Peers     Peers
	Downloads Downloads
	Teller    Teller
}

// Here is the stored bytes on this machine: those of its owner, and what it keeps for others.
type Here interface {
	version.Chunks
	Has(ctx context.Context, hash core.Hash) (bool, error)
}

// Refs finds refs of the owner.
type Refs interface {
	// Local is this machine's refs of an alias, or all where it is empty.
	Local(alias string) ([]version.Found, error)
	// At is those of all peers that are there: of an alias the newest version, or the one with the number. Problems
	// say who could not be asked.
	At(ctx context.Context, alias string, number int) (found []version.Found, problems []error)
}

// Peers is the peers that the node has, or should have.
type Peers interface {
	wire.Asker
	// Await returns when every peer of the node's list is there or has failed, or after a while.
	Await(ctx context.Context)
	Connected() []core.ID
	// Reach looks for nodes that are not there where others say that they are, for some seconds at most.
	Reach(ctx context.Context, ids []core.ID)
	// Unreached says why peers of the list are not there.
	Unreached() []string
}

// Downloads brings runs from their holders.
type Downloads interface {
	// Download brings what is ordered. Of the rest it returns what could be had from nobody, and why, and what is wrong
	// at its holder, where the order judges.
	Download(ctx context.Context, o Order) (left, wrong []int, why error)
}

// Order is runs to be downloaded.
type Order struct {
	Owner   core.ID // zero: who is at home here
	Alias   string  // of the version
	Wanted  []spread.Wanted
	Holders map[core.ID]spread.Standing // what is known of them, kept up to date
	Judges  bool                        // wrong bytes are an answer: no other holder is asked
	What    string                      // the runs are, for a person
	// Keep takes a chunk of a run, held against its hash, once, by its place in Run.Chunks; many goroutines call it.
	// Its error ends the download: no holder brings better bytes than those that cannot be kept here.
	Keep func(run, index int, data []byte) error
}

// Teller is told what a person wants to know on the way.
type Teller interface {
	Phase(name string)
	Warn(text string)
}
