// SPDX-License-Identifier: Apache-2.0

package plan

// DrawRequest is for tests that write plans down.
var DrawRequest = drawRequest
