// SPDX-License-Identifier: Apache-2.0

package chunk

import (
	"bytes"
	"encoding/binary"
)

// MethodAuto stands for the method that Guess finds.
const MethodAuto = "auto"

// GuessSize is how many of a content's first bytes Guess wants to see.
const GuessSize = 68 << 10

// magics tell what is inside blocks of its own: what changes there stays at its place, so that equal sizes find the
// most duplicates.
var magics = []struct {
	at    int
	magic string
	what  string
}{
	{0, "QFI\xfb", "qcow2"},
	{0, "KDMV", "VMDK"},
	{0, "conectix", "VHD"},
	{0, "vhdxfile", "VHDX"},
	{0x40, "\x7f\x10\xda\xbe", "VDI"},
	{512, "EFI PART", "GPT"},
	{4096, "EFI PART", "GPT of 4 KiB sectors"},
	{0, "LUKS\xba\xbe", "LUKS"},
	{512, "LABELONE", "LVM"},
	{0, "XFSB", "xfs"},
	{1080, "\x53\xef", "ext"},
	{0x10040, "_BHRfS_M", "btrfs"},
	{1024, "\x10\x20\xf5\xf2", "f2fs"},
	{3, "NTFS    ", "NTFS"},
	{3, "EXFAT   ", "exFAT"},
	{54, "FAT1", "FAT"},
	{82, "FAT32   ", "FAT"},
	{32, "NXSB", "APFS"},
	{4086, "SWAPSPACE2", "swap"},
}

// streams tell what is written from one end to the other: there, what comes in moves what is behind it.
var streams = []struct {
	at    int
	magic string
}{
	{257, "ustar"},      // a tar, whatever is inside
	{0x8001, "CD001"},   // an ISO image, also one with a partition table for starting from a disk
	{0, "hsqs"},         // squashfs
	{0, "\x1f\x8b"},     // gzip
	{0, "\x28\xb5\x2f"}, // zstd
}

// Guess says by the first bytes of a content how to cut it: an image of a disk, or of a file system, at equal sizes,
// all else by content.
func Guess(first []byte) string {
	has := func(at int, magic string) bool {
		return at <= len(first) && bytes.HasPrefix(first[at:], []byte(magic))
	}
	for _, s := range streams {
		if has(s.at, s.magic) {
			return MethodCDC
		}
	}
	for _, m := range magics {
		if has(m.at, m.magic) {
			return MethodFixed
		}
	}
	if partitioned(first) {
		return MethodFixed
	}
	return MethodCDC
}

// partitioned looks for the table of a master boot record that makes sense: its signature alone is only two bytes.
func partitioned(first []byte) bool {
	const table, entry = 446, 16
	if len(first) < 512 || first[510] != 0x55 || first[511] != 0xaa {
		return false
	}
	used := 0
	for i := range 4 {
		e := first[table+i*entry:][:entry]
		kind, start, count := e[4], binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:])
		switch {
		case e[0] != 0 && e[0] != 0x80:
			return false
		case kind == 0:
		case start == 0 || count == 0:
			return false
		default:
			used++
		}
	}
	return used > 0
}
