// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"fmt"

	"github.com/bkp-tool/bkp/core"
)

// Asker puts questions to peers. The message that question makes for a number is sent, and what answers that number
// comes back.
type Asker interface {
	Ask(ctx context.Context, to core.ID, question func(id uint64) Message) (Message, error)
}

// Ask puts a question that has one type of answer.
func Ask[Answer Message](ctx context.Context, a Asker, to core.ID,
	question func(id uint64) Message) (answer Answer, err error) {
	m, err := a.Ask(ctx, to, question)
	if err != nil {
		return answer, err
	}
	answer, ok := m.(Answer)
	if !ok {
		return answer, fmt.Errorf("peer %s answered with %s", to.Short(), m.Type())
	}
	return answer, nil
}
