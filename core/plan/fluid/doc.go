// SPDX-License-Identifier: Apache-2.0

// Package fluid is what a network can do with bytes that flow like water: bounds, and the flows that reach them. It
// knows no runs, and no strategies.
//
// Rates are payload: accounts count wire bytes, of which core.WireOverhead go for a byte of payload.
package fluid
