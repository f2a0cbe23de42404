// SPDX-License-Identifier: Apache-2.0

// Package python holds the kit for authors in Python, which bkp plugin new lays beside a new plugin. pyproject.toml
// makes it a package that pip installs.
package python

import "embed"

// Files is the package bkp_plugin.
//
//go:embed bkp_plugin/*.py
var Files embed.FS
