// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !darwin

package volume

import (
	"context"

	"github.com/bkp-tool/bkp/core"
)

// Mount is not to be had on this system.
func Mount(context.Context, string, Volume, func(string, ...any)) error {
	return core.WithHint(core.Fail(core.CodeFailed, "this system has no FUSE"), "bkp serve NAME gives it out by HTTP")
}
