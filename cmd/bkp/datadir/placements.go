// SPDX-License-Identifier: Apache-2.0

package datadir

import "github.com/bkp-tool/bkp/core/placements"

// Placements is DATA/placements.
func (d Dir) Placements() *placements.Records { return placements.OpenRecords(d.Path("placements")) }
