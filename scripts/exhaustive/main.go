// SPDX-License-Identifier: Apache-2.0

// Command exhaustive checks that a switch over an enumeration names every value or has a default. It is a module of its
// own, since the analyzer's last release asks for packages that no longer build.
package main

import (
	"github.com/nishanths/exhaustive"
	"golang.org/x/tools/go/analysis/singlechecker"
)

func main() { singlechecker.Main(exhaustive.Analyzer) }
