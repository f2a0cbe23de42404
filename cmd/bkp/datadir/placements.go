// SPDX-License-Identifier: Apache-2.0

package datadir

import "github.com/bkp-tool/bkp/core/place"

// Placements is DATA/placements.
func (d Dir) Placements() *place.Records { return place.OpenRecords(d.Path("placements")) }
