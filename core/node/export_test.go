// SPDX-License-Identifier: Apache-2.0

package node

// Loop is the function that runs a node's events.
var Loop = (*state).loop
