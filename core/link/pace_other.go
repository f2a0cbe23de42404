//go:build !linux

package link

import "net"

func pace(net.Conn, int64) {}
