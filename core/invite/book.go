// SPDX-License-Identifier: Apache-2.0

package invite

import (
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
)

const (
	// told is how long after its end an invite's secret is kept, so that who comes too late is told so.
	told = 30 * 24 * time.Hour
	// MaxUses is how many nodes one invite may bring, and maxOpen how many invites stand at once.
	MaxUses = 1000
	maxOpen = 1000
	// nameLength is how many digits of an invite's name a person gives at least.
	nameLength = 4
)

// Invite is one invite, as the node that made it remembers it. Times are Unix seconds.
type Invite struct {
	Name    core.Nonce        `json:"name"`
	Secret  Secret            `json:"secret,omitzero"` // base64; gone a month after the end
	Made    int64             `json:"made"`
	Expires int64             `json:"expires"`
	Revoked int64             `json:"revoked,omitzero"`
	Uses    int               `json:"uses"` // how many nodes it may bring
	Labels  map[string]string `json:"labels,omitempty"`
	Quota   core.Size         `json:"quota,omitzero"` // over all owners who come by it; 0: none
	Came    []Guest           `json:"came,omitempty"`
}

// Guest is a node that came by an invite.
type Guest struct {
	Node core.ID `json:"node"`
	At   int64   `json:"at"`
}

// Stands is nil where the invite brings a further node, else why it does not.
func (i Invite) Stands(now time.Time) error {
	switch {
	case i.Revoked > 0:
		return fmt.Errorf("the invite was revoked")
	case now.Unix() >= i.Expires:
		return fmt.Errorf("the invite expired %s", time.Unix(i.Expires, 0).UTC().Format("2006-01-02 15:04Z"))
	case len(i.Came) >= i.Uses:
		return fmt.Errorf("the invite is used up")
	}
	return nil
}

// has reports whether a node came by the invite.
func (i Invite) has(node core.ID) bool {
	return slices.ContainsFunc(i.Came, func(g Guest) bool { return g.Node == node })
}

// Book is the invites of a node, the oldest first. A changed book is a new one.
type Book struct {
	Invites []Invite `json:"invites"`
}

// Add is the book with one more invite.
func (b Book) Add(i Invite, now time.Time) (Book, error) {
	open := 0
	for _, other := range b.Invites {
		if other.Stands(now) == nil {
			open++
		}
	}
	switch {
	case open >= maxOpen:
		return b, core.WithHint(core.Fail(core.CodeRefused, "%d invites stand open", open),
			"bkp invite --list shows them, bkp invite --revoke NAME ends one")
	case i.Uses < 1 || i.Uses > MaxUses:
		return b, core.Fail(core.CodeUsage, "an invite for %d nodes; 1 to %d are possible", i.Uses, MaxUses)
	case i.Expires <= i.Made:
		return b, core.Fail(core.CodeUsage, "an invite that expires before it is made")
	}
	remembered := slices.DeleteFunc(b.tidied(now), func(i Invite) bool { return i.Secret == Secret{} && len(i.Came) == 0 })
	return Book{append(remembered, i)}, nil
}

// Redeem is the book after a node came by the invite of a name, which it also returns. proves says whether the node
// showed that it knows a secret. Without that the error is one and the same, whatever is true of the invite. Who comes
// again changes nothing.
func (b Book) Redeem(name core.Nonce, node core.ID, now time.Time, proves func(Secret) bool) (Book, Invite, error) {
	at := slices.IndexFunc(b.Invites, func(i Invite) bool { return i.Name == name && i.Secret != Secret{} })
	var i Invite
	if at >= 0 {
		i = b.Invites[at]
	}
	if !proves(i.Secret) || at < 0 {
		return b, Invite{}, fmt.Errorf("no invite here has that secret")
	}
	if i.Revoked == 0 && now.Unix() < i.Expires && i.has(node) {
		return b, i, nil
	}
	if err := i.Stands(now); err != nil {
		return b, Invite{}, err
	}
	i.Came = append(slices.Clone(i.Came), Guest{Node: node, At: now.Unix()})
	changed := Book{b.tidied(now)}
	changed.Invites[at] = i
	return changed, i, nil
}

// Revoke is the book without the invite whose name begins so; who came by it stays.
func (b Book) Revoke(name string, now time.Time) (Book, Invite, error) {
	var found []int
	for at, i := range b.Invites {
		if len(name) >= nameLength && len(name) <= len(i.Name.String()) && i.Name.String()[:len(name)] == name {
			found = append(found, at)
		}
	}
	if len(found) != 1 {
		return b, Invite{}, core.WithHint(core.Fail(core.CodeNoName, "%d invites have a name that begins with %q",
			len(found), core.Printable(name)), "bkp invite --list shows them")
	}
	changed := Book{b.tidied(now)}
	i := &changed.Invites[found[0]]
	if err := i.Stands(now); err != nil {
		return b, *i, core.Fail(core.CodeRefused, "%w already", err)
	}
	i.Revoked = now.Unix()
	return changed, *i, nil
}

// By is the invite that a node came by last.
func (b Book) By(node core.ID) (Invite, bool) {
	for _, i := range slices.Backward(b.Invites) {
		if i.has(node) {
			return i, true
		}
	}
	return Invite{}, false
}

// tidied is a copy of the invites without secrets that nobody is told anything of any more.
func (b Book) tidied(now time.Time) []Invite {
	invites := slices.Clone(b.Invites)
	for at := range invites {
		i := &invites[at]
		ended := i.Expires
		if i.Revoked > 0 {
			ended = i.Revoked
		}
		if now.Unix() >= ended+int64(told/time.Second) {
			i.Secret = Secret{}
		}
	}
	return invites
}
