// SPDX-License-Identifier: Apache-2.0

// Package retain decides which versions of a name rules of retention keep.
package retain
