// SPDX-License-Identifier: Apache-2.0

// Package stripes computes the parity of stripes, and rebuilds from it runs that nobody has any more.
package stripes
