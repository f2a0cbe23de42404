// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size int64

// Rate is bytes per second on the wire, frames and headers included.
type Rate int64

const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// WireOverhead is how many wire bytes an account is charged per payload byte: payload rate = lease / WireOverhead.
const WireOverhead = 1.05

// Payload is the rate at which payload may flow within a lease of r.
func (r Rate) Payload() Rate { return Rate(float64(r) / WireOverhead) }

// Seconds is how long n bytes take at rate r; without a rate it is infinite.
func (r Rate) Seconds(n Size) float64 {
	if r <= 0 {
		return math.Inf(1)
	}
	return float64(n) / float64(r)
}

var sizeUnits = []struct {
	suffix string
	scale  float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1 << 40}, {"B", 1},
}

var rateUnits = []struct {
	suffix string
	scale  float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30},
	{"kbit", 1e3 / 8}, {"Mbit", 1e6 / 8}, {"Gbit", 1e9 / 8},
}

// ParseSize reads "10GiB", "1.5TiB", "4096": a bare number is bytes.
func ParseSize(s string) (Size, error) {
	scale, number := 1.0, s
	for _, u := range sizeUnits {
		if cut, ok := strings.CutSuffix(s, u.suffix); ok {
			scale, number = u.scale, cut
			break
		}
	}
	n, err := positive(number, scale)
	if err != nil {
		return 0, fmt.Errorf("size %q: %w (write 512MiB, 10GiB, 2TiB, or bytes)", s, err)
	}
	return Size(n), nil
}

// ParseRate reads "20MiB", "100Mbit", "102400": a bare number is KiB per second, as in restic and rclone.
func ParseRate(s string) (Rate, error) {
	scale, number := rateScale(s)
	n, err := positive(number, scale)
	if err != nil {
		return 0, fmt.Errorf("bandwidth %q: %w (write 20MiB, 100Mbit, or KiB per second)", s, err)
	}
	return Rate(n), nil
}

// rateScale takes the unit off a rate.
func rateScale(s string) (scale float64, number string) {
	for _, u := range rateUnits {
		if cut, ok := strings.CutSuffix(s, u.suffix); ok {
			return u.scale, cut
		}
	}
	return float64(KiB), s
}

// maxAmount keeps sums of thousands of sizes or rates far from overflow: 1 EiB.
const maxAmount = 1 << 60

func positive(number string, scale float64) (float64, error) {
	n, err := strconv.ParseFloat(number, 64)
	switch {
	case number == "":
		return 0, fmt.Errorf("missing")
	case err != nil || math.IsNaN(n) || strings.ContainsAny(number, "xXpP_"):
		return 0, fmt.Errorf("not a number")
	case n <= 0 || n*scale < 1:
		return 0, fmt.Errorf("must be above zero")
	case n*scale > maxAmount:
		return 0, fmt.Errorf("too large")
	}
	return n * scale, nil
}

func (s Size) String() string { return scaled(float64(s)) }
func (r Rate) String() string { return scaled(float64(r)) + "/s" }

// scaled prints three significant digits and a unit, as 1.50 GiB.
func scaled(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i := 0
	for math.Abs(n) >= 999.5 && i < len(units)-1 {
		n /= 1024
		i++
	}
	switch {
	case i == 0:
		return fmt.Sprintf("%.0f B", n)
	case math.Abs(n) < 9.995:
		return fmt.Sprintf("%.2f %s", n, units[i])
	case math.Abs(n) < 99.95:
		return fmt.Sprintf("%.1f %s", n, units[i])
	}
	return fmt.Sprintf("%.0f %s", n, units[i])
}
