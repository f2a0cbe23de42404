// SPDX-License-Identifier: Apache-2.0

// Package core names what every room of bkp shares: IDs, sizes and rates, files, chunks and runs, licences and
// receipts, what the planner knows of the network, what plugins are asked, and errors with their exit codes. It imports
// the standard library only and does nothing. This file is the map of the project; README.md, beside it, is for who
// operates bkp.
//
// # Words
//
// These and no others stand in code, help and errors:
//
//	chunk        a piece of a file cut by content: the unit of deduplication and of integrity
//	run          consecutive chunks of up to 4 MiB: the unit of transfer
//	segment      up to 4096 runs: the unit of licence and placement
//	span         consecutive runs given to one node
//	stripe       k runs and the m parity runs made from them: any k of them restore all
//	manifest     the tree that orders the chunks; its parts are tree nodes (a node alone is a machine)
//	version      one split of a name
//	ref          the sealed pointer to a version
//	tombstone    a signed word that a version is removed, whoever may have its ref still
//	alias        the keyed, meaningless name under which peers know a version
//	staging      sealed chunks not yet placed
//	holding      what a node keeps for a task of an owner
//	shipment       what a node is to keep of a version, on a disk that is carried there
//	coordinator  the node that sees to a placement: the owner's own, or one that it was handed over to, in a term
//	location     a coordinator's word on who keeps what, beside the owner's records
//	task         one placement
//	owner        whose files they are; an issuer is an owner whom a node serves
//	permit       an issuer's signed word that another owner may store where the issuer may
//	source       the node that holds the staged bytes; the coordinator, which runs the plan, is normally the same
//	target       a node that is to keep runs; a spare may take over, a carrier may pass runs on
//	link         the directed way from one node to another; a trunk is a cap shared by all links from zone to zone
//	account      the bandwidth of a link, of a node's up or down side, or of a trunk
//	calendar     a rate that follows the clock on the wall; a forecast is its week to come, as nodes tell it each other
//	flow         one sender, receiver and task
//	lease        a flow's reservation on its accounts, with a time to live
//	strategy     prices nodes; a verifier judges licences; a notifier tells people what happened: all are plugins
//	receipt      a target's signed word that it keeps runs
//	audit        a challenge that only who has the bytes can answer; what answers it is a proof
//	ledger       the verifiable log of licences and receipts
//	engine       what gives several ledgers, and coordinators, one order: a plugin, too
//	booking      a coordinator's word in that order, before it signs licences
//	bound        the least possible time
//
// # Floors
//
// A room imports rooms below it only; floors_test.go holds them to it. Floors 0 to 2 are pure: they decide, and are
// given time, randomness and bytes by who acts.
//
//	roof  cmd/bkp     one file a command: flags, one call, its result printed
//	      command     how a command is made, and what it works with; command/GROUP is the commands of a group (help, job,
//	                  key, ledger, license, node, peers, plugin)
//	      line        what a command was told: its words, the environment, config.toml
//	      owner       the identity of who gives a command
//	      session     the node that carries out a command: the running one, or one put together for as long as it takes
//	      input       what is split: a file, standard input, or what a command writes
//	      retain      the rules by which versions are kept
//	      datadir     the data directory: what stands where, and who may touch it; datadir/mend repairs its records,
//	                  datadir/heard keeps what nodes told each other
//	      job         what a node does by the clock, when it is due and what became of it
//	      volume      a version that is read at any place: by HTTP, as a file of a mounted directory, or as a block
//	                  device; volume/nbd is the protocol of that, volume/overlay keeps what is written over a version
//	      web         the page that shows a running node to a browser of its machine
//	      metrics     what Prometheus is told of a running node, and probes of its health
//	      render      tables, JSON lines, progress and pictures of what commands came to
//	6     commands    what a node does for its own user, asked or unasked: the rooms of floor 4 put to work over the loop
//	5     node        one loop that owns the state, and its acts
//	4     file        split and join over files         control what commands ask of the node of their data directory
//	      keep        what is kept for others, from acceptance to collection
//	      place       coordinating a placement          fetch   a version where it is kept
//	                  place/content: what a version consists of    place/survey: what the network can give
//	                  place/delivery: what is to be done while the data moves
//	                  place/proof: having targets prove what they keep
//	                  place/stripes: parity, and what is rebuilt from it
//	                  place/booking: licences entered in the order that several coordinators have
//	      repair      placements kept: copies proved again, and made anew
//	      transfer    the tasks under way, by spread's decisions over flows
//	      staging     the owner's versions here: what of them must stay, and what may go since peers keep it
//	3     storage     a place for sealed chunks, on disk link    sessions with peers over WebSockets
//	      health      what is wrong with a node         gossip  what nodes sign and tell each other when they meet
//	      ledger      the Merkle log                    sim     a virtual network
//	      durable     files that outlast a power loss: what storage, ledger and the roof make them by
//	      placements  what versions shall have, and what is known to be there: DATA/placements
//	      flow        leases booked, and runs paced out and taken in within them
//	2     task        the transitions of a flow           spread  which runs travel next, from whom to whom
//	      version     what an owner's refs and records say
//	      shipment      how what a node is to keep stands on a disk that is carried there
//	      reconcile   what a placement shall be and what is known of it: what to do next
//	1     key         identities, delegations, refs     chunk   cut, seal and open
//	      manifest    build and walk the tree           plan    who keeps what, and how good that is
//	                                                             plan/fluid: what a network can do, as if data flowed
//	                                                             plan/wrap: runs given out to nodes in a circle
//	                                                             plan/saved: plans in files
//	      account     bandwidth accounts and leases     license licences and receipts
//	      wire        messages and their codec            audit   challenges, and what proves that bytes are there
//	      measure     what links carry, by what arrived over them
//	      invite      codes by which new nodes join
//	                                                      shard   the parity of stripes, and runs rebuilt from it
//	0     core        the nouns
//
// Beside these rooms stands plugins, the kit for strategies, verifiers, notifiers and engines in processes of their own. Rooms
// of floor 4 know ledger and plugins as interfaces that they declare themselves, as keep.Holdings and keep.Ledger. What
// a place for chunks promises stands in storage, with a suite that holds every implementation to it; storage/live says
// what a collection must spare. storage/disk joins the rooms below it, which know nothing of it: pack, index (tables:
// table), writers, damage, collect, check, space, files. storage/s3 hands it packs that are objects of a bucket.
// storage/holdings is what a node keeps chunks for.
//
// # A chunk's journey
//
// bkp split big.iso: file.Split reads the file; chunk.Cutter finds where the next chunk ends, Secrets.Identify names
// it. A chunk that the store knows by its id is not stored again. Another is sealed under a key made from its own
// content, so that equal chunks of one owner seal to equal bytes, and put into a pack. manifest.Builder takes the
// chunks in order and seals the tree above them. After the barrier of the storage the version's ref appears in
// DATA/refs: key.SealRef closes the root's key into it.
//
// bkp place big.iso: the command reaches the running node through DATA/node.sock (control), or becomes one, and
// commands has place coordinate it. That asks every peer for its state and groups new chunks into runs and runs into
// segments. A strategy prices the peers, plan.Place decides by those prices, space and bandwidth which peer keeps which
// spans and who sends them to whom. license.Sign writes a licence a segment, and STORAGE_TASK carries it to the
// targets. A target (keep) checks it, asks its verifiers, enters it into its ledger, and agrees. Now the chunk travels.
// Every node that has runs which another lacks (transfer) chooses anew for every batch whom to serve (plan.Choose), by
// what WANT messages told it; the plan says who keeps what, never when. The sender applies for a lease (STORAGE_APPLY),
// the receiver's accounts grant it (STORAGE_AGREE), BEGIN announces the run, and its bytes follow on the data socket,
// paced at the lease (flow). The target holds them against their hash, puts them into its own store, and passes them on
// to others. The copies of a target that is lost go to others, under a further licence. After a barrier a receipt goes
// back, and both ledgers keep it; then the target proves that it has the bytes: audit.Draw draws ranges, AUDIT asks for
// them, and slices of the chunks' trees answer. Last, the ref goes to every target, under the alias. A copy counts that
// is receipted, proved and has the ref there; when as many do as are wanted, the staged bytes go: disk.Away notes what
// they were, and staging.CoverOf says from the records which of them a later split may lean on.
//
// bkp fetch big.iso, on a new machine with the identity file only: fetch asks peers for the refs under the alias,
// version opens the newest, and its segment records say who keeps which run. spread.Download decides which holder is
// asked for which runs; GAIN_APPLY asks within leases, all holders at once, and another where one dies or lies. Each
// chunk is held against its hash, opened, and written by file to its place in a temporary file, which is renamed when
// every byte is in place.
package core
