// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package plugins

import "errors"

const canRunApart = false

// RunApart is not there on this system.
func RunApart(_, _, _ string) error { return errors.ErrUnsupported }
