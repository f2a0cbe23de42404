// SPDX-License-Identifier: Apache-2.0

package plugintest

import "embed"

// Files is the text of this package, which bkp plugin new lays beside a new plugin in Go.
//
//go:embed *.go
var Files embed.FS
