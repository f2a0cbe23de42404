// SPDX-License-Identifier: Apache-2.0

// Package ruby holds the kit for authors in Ruby, which bkp plugin new lays beside a new plugin. bkp_plugin.gemspec
// makes it a gem.
package ruby

import "embed"

// Files is the kit: bkp_plugin.rb and what it reads.
//
//go:embed bkp_plugin.rb bkp_plugin/*.rb
var Files embed.FS
