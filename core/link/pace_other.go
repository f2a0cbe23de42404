// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package link

import (
	"net"

	"github.com/bkp-tool/bkp/core"
)

func pace(net.Conn, core.Rate) {}
