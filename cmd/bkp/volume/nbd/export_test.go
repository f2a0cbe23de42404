// SPDX-License-Identifier: Apache-2.0

package nbd

import "io"

// Client serves one connection that has no deadlines.
func Client(conn io.ReadWriter, e *Export) {
	if structured, err := handshake(conn, e); err == nil {
		_ = transmit(conn, e, structured)
	}
}
