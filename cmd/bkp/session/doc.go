// SPDX-License-Identifier: Apache-2.0

// Package session is the node that carries out a command: the one that runs on the data directory, or one in this
// process.
package session
