// SPDX-License-Identifier: Apache-2.0

package account

import "github.com/bkp-tool/bkp/core"

// Names of a node's accounts; core.Account documents them.
const (
	Up   = "up"
	Down = "down"
)

// Out is the name of the account of the link to a node.
func Out(id core.ID) string { return "out:" + id.String() }

// In is the name of the account of the link from a node.
func In(id core.ID) string { return "in:" + id.String() }
