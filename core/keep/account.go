// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"github.com/bkp-tool/bkp/core"
)

const (
	// runWords is what a run takes beside its bytes: its lines in the database, in a description and in the ledger.
	runWords core.Size = 256
	// leastWords is how much all owners' words may take at least, and wordsShare which part of the capacity, where that is
	// more: what they say is in memory as well. 4,096 runs with their licence take about 1 MiB, of 16 GiB where files are
	// large, and of 256 MiB in runs of 64 KiB.
	leastWords = 64 * core.MiB
	wordsShare = 256
)

// account is all that one owner causes here. The loop owns it; what stands in a database is read beside the loop, and
// told in the event that also ends what it was before.
type account struct {
	stored   core.Size // bytes of runs, as the holdings count them
	promised core.Size // to segments, not here yet
	arrived  core.Size // here, and not in the holdings yet
	records  core.Size // of refs, and of those whose ref has not come yet
	words    core.Size // of segments: their licences and run lists
	refs     core.Size // envelopes of refs

	invite core.Nonce  // by which the owner's machine came; zero: by none
	quota  core.Size   // of all owners who came by that
	permit core.Permit // under which it stores, as its last licence had it; zero: under none
	direct bool        // its own machine has presented a licence here, and nobody in its name
}

func (a *account) sum() core.Size {
	return a.stored + a.promised + a.arrived + a.records + a.words + a.refs
}

// account is what an owner causes here.
func (s *State) account(owner core.ID) *account {
	a := s.accounts[owner]
	if a == nil {
		a = &account{}
		s.accounts[owner] = a
	}
	return a
}

// Owed is all that an owner has here, or was promised.
func (s *State) Owed(owner core.ID) core.Size {
	if a := s.accounts[owner]; a != nil {
		return a.sum()
	}
	return 0
}

// vouch notes by which invite an owner came: that of the machine that presents a licence of its own, or, until one did,
// of whoever presents it.
func (s *State) vouch(owner, source, from core.ID) {
	if s.target.Invited == nil {
		return
	}
	a := s.account(owner)
	if source == from {
		a.direct = true
	} else if a.direct {
		return
	}
	a.invite, a.quota = s.target.Invited(from)
	if a.invite.IsZero() {
		a.invite, a.quota = s.target.Invited(source)
	}
}

// forgetIdle forgets an owner who has nothing here.
func (s *State) forgetIdle(owner core.ID) {
	if s.Owed(owner) == 0 {
		delete(s.accounts, owner)
	}
}

// may is an error where an owner's quota, or that of the invite by which it came, has no room for so much more.
func (s *State) may(owner core.ID, more core.Size) error {
	if a := s.accounts[owner]; a != nil && a.quota > 0 {
		var used core.Size
		for _, other := range s.accounts {
			if other.invite == a.invite {
				used += other.sum()
			}
		}
		if more > a.quota-used {
			return refuse(core.ReasonLicense, "who came by the invite %s has %s here and asks for %s more; its quota is %s",
				a.invite.String()[:8], used, more, a.quota)
		}
	}
	issuer, used := owner, s.Owed(owner)
	if a := s.accounts[owner]; a != nil && !a.permit.ID.IsZero() {
		if issuer = a.permit.Issuer; more > a.permit.MaxBytes-used {
			return refuse(core.ReasonLicense, "owner %s has %s here and asks for %s more; its permit is for %s", owner, used,
				more, a.permit.MaxBytes)
		}
	}
	used = 0
	for id, a := range s.accounts {
		if id == issuer || a.permit.Issuer == issuer {
			used += a.sum()
		}
	}
	if quota := s.target.Quotas[issuer]; quota > 0 && more > quota-used {
		return refuse(core.ReasonLicense, "owner %s has %s here and asks for %s more; its quota is %s", issuer, used, more,
			quota)
	}
	return nil
}

// mayWrite is an error where there is no room for so many more words: databases and ledger are beside the capacity.
func (s *State) mayWrite(owner core.ID, more core.Size) error {
	var all core.Size
	for _, a := range s.accounts {
		all += a.words + a.refs
	}
	if most := max(leastWords, s.keeps/wordsShare); all+more > most {
		return refuse(core.ReasonSpace, "%s of licences and refs are kept here already, and %s are the most", all, most)
	}
	return s.may(owner, more)
}

// wordsOf is what a segment takes beside the bytes of its runs.
func wordsOf(seg *Segment) core.Size {
	return core.Size(len(seg.License)) + runWords*core.Size(seg.Runs()+1)
}

// write charges a segment for words.
func (s *State) write(seg *Segment, words core.Size) {
	seg.words += words
	s.account(seg.Owner).words += words
}

// settle takes what the databases say of an owner; arrived is how much of that was on its way to them before.
func (s *State) settle(owner core.ID, told books, arrived core.Size) {
	a := s.account(owner)
	a.stored, a.records, a.refs = told.stored, told.records+s.pinnedRecords(owner), told.refs
	if a.arrived -= arrived; a.sum() == 0 {
		delete(s.accounts, owner)
	}
}

// books is what the databases say of an owner.
type books struct{ stored, records, refs core.Size }

// readBooks reads them.
func (t *Target) readBooks(owner core.ID) (b books, err error) {
	if b.stored, err = t.Holdings.OwnerBytes(owner); err != nil {
		return b, err
	}
	refs, err := t.Holdings.Refs(owner)
	for _, r := range refs {
		b.refs += refWords(len(r.Envelope) + len(r.Former))
		b.records += sizeOf(r.Records)
	}
	if err != nil {
		return b, err
	}
	graves, err := t.Holdings.Tombstones(owner)
	for _, x := range graves {
		b.refs += refWords(len(x.Envelope))
	}
	return b, err
}

// refWords is what a ref takes beside its records.
func refWords(envelopes int) core.Size { return core.Size(envelopes) + runWords }

// balance has the loop take what the databases say of an owner now.
func (t *Target) balance(owner core.ID, arrived core.Size) {
	told, err := t.readBooks(owner)
	t.loop.Post(func(s *State) {
		if err != nil { // what was on its way counts on: rather too much than too little
			return
		}
		s.settle(owner, told, arrived)
	})
}
