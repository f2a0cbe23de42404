// SPDX-License-Identifier: Apache-2.0

// Package mend makes the records of what a stopped node keeps for others agree again, where they disagree or one is
// lost.
package mend
