// SPDX-License-Identifier: Apache-2.0

// Package owner opens the identity of who gives a command.
package owner
