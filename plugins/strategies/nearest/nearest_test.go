// SPDX-License-Identifier: Apache-2.0

package nearest_test

import (
	"testing"

	"github.com/bkp-tool/bkp/plugins/plugintest"
	"github.com/bkp-tool/bkp/plugins/plugintest/processtest"
	"github.com/bkp-tool/bkp/plugins/strategies/nearest"
)

func TestConformance(t *testing.T) { plugintest.Strategy(t, nearest.New()) }

func TestConformanceAsProcess(t *testing.T) { processtest.Strategy(t, "./bkp-strategy-nearest") }
