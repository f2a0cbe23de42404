// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"slices"
)

// The versions of the protocol. Two nodes agree on one as WebSocket subprotocol, "bkp.v2" for Version2. Version 1 is
// frozen: what it writes is what release d6aae67 wrote, byte for byte, and what that release refuses is refused in it.
const (
	Version1 = 1
	Version2 = 2

	// Version is the newest that this build speaks.
	Version = Version2
)

// Feature is a word of HELLO for something that came after version 1: both sides use what both list. As the tag `wire`
// of a struct's field it says from when on that member exists, and since says the same of a type of message; see "How
// to add something" in doc.go.
type Feature string

// The features, each with what it adds.
const (
	FeatureDegraded Feature = "degraded" // STATE_REPORT says why its node is not well
	FeatureRefs2    Feature = "refs2"    // refs of version 2 are read; who does not list it is sent refs of version 1
	FeatureAudit    Feature = "audit"    // AUDIT is answered
	FeatureStripes  Feature = "stripes"  // runs may be parity; who does not list it is to keep nothing of stripes
	FeatureInvites  Feature = "invites"  // JOIN is answered
	FeatureRevoked  Feature = "revoked"  // REVOKED is heard
	FeatureHeads    Feature = "heads"    // HEADS is answered
	// FeatureTombstones: RELEASE may say that the version is removed, and REF_REPORT tells of such versions.
	FeatureTombstones Feature = "tombstones"
	FeatureGuide      Feature = "guide" // STORAGE_TASK says what of the plan senders go by
	// FeatureKeep: HANDOVER is answered, licences and releases of a delegate to keep are judged, and locations are
	// kept.
	FeatureKeep Feature = "keep"
	// FeatureCountersigned: COUNTERSIGNED is heard, and entered in the ledger.
	FeatureCountersigned Feature = "countersigned"

	inVersion2 Feature = "v2" // no feature: what belongs to version 2 itself
)

// Features are all that this build has, as its HELLO lists them.
var Features = []Feature{FeatureDegraded, FeatureRefs2, FeatureAudit, FeatureStripes, FeatureInvites,
	FeatureRevoked, FeatureHeads, FeatureTombstones, FeatureGuide, FeatureKeep, FeatureCountersigned}

// Dialect is what the two ends of a session agreed to speak: a version, and the features that both list. It reads and
// writes their messages.
type Dialect struct {
	Version  int
	features []Feature
	skips    bool // the other side lists a feature that this one lacks: what is unknown here may belong to it
}

// V1 is spoken with release d6aae67, and inside RELAY, whose two ends have agreed on nothing.
var V1 = Dialect{Version: Version1}

// newest is all that this build can say: what traces show and the tests' vectors hold.
var newest = Agree(Version, Features)

// Agree is what this build speaks with a node whose HELLO, in the version that their socket agreed on, listed theirs.
func Agree(version int, theirs []Feature) Dialect {
	d := Dialect{Version: version}
	if version < Version2 {
		return d
	}
	for _, f := range theirs {
		switch {
		case !slices.Contains(Features, f):
			d.skips = true
		case !slices.Contains(d.features, f):
			d.features = append(d.features, f)
		}
	}
	return d
}

// Has reports whether both sides list a feature.
func (d Dialect) Has(f Feature) bool { return slices.Contains(d.features, f) }

// knows reports whether what came with f may be said.
func (d Dialect) knows(f Feature) bool {
	switch f {
	case "":
		return true
	case inVersion2:
		return d.Version >= Version2
	default:
		return d.Has(f)
	}
}

// DecodeHello reads the first message of a socket: anything else is refused by its type, before its members are looked
// at. What to make of a member that is unknown here is told by the features that the same HELLO lists.
func DecodeHello(version int, data []byte) (Hello, error) {
	m, skipped, err := Dialect{Version: version, skips: version >= Version2}.decode(data, Hello{}.Type())
	if err != nil {
		return Hello{}, err
	}
	hello := m.(Hello)
	if skipped > 0 && !Agree(version, hello.Features).skips {
		return Hello{}, fmt.Errorf("decode HELLO: %d unknown members, and no unknown feature that they could belong to",
			skipped)
	}
	return hello, nil
}

// DecodeAuth reads the second message of a socket as DecodeHello the first.
func (d Dialect) DecodeAuth(data []byte) (Auth, error) {
	m, _, err := d.decode(data, Auth{}.Type())
	if err != nil {
		return Auth{}, err
	}
	return m.(Auth), nil
}

// DecodeJoin reads what follows HELLO on a socket that was opened to join.
func (d Dialect) DecodeJoin(data []byte) (Join, error) {
	m, _, err := d.decode(data, Join{}.Type())
	if err != nil {
		return Join{}, err
	}
	return m.(Join), nil
}

// DecodeJoined reads its answer.
func (d Dialect) DecodeJoined(data []byte) (Joined, error) {
	m, _, err := d.decode(data, Joined{}.Type())
	if err != nil {
		return Joined{}, err
	}
	return m.(Joined), nil
}
