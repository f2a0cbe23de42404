package sim

import (
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/task"
)

// node is one virtual node. Sets are of units: runs, or shards of runs.
type node struct {
	index    int
	name     string
	up, down core.Rate // 0 is unlimited
	account  struct{ up, down string }

	has    set
	owns   set // had it from the start
	coming set // on its way to it
	want   set // what it is to keep
	behind set // what is lacked behind it
	passes set // what it would take to pass on, and not keep
	had    set // it passed on and dropped: it takes nothing twice, or two relays could play catch
	sent   set // what it sent to anybody: a source spreads what it never sent
	unsent int // of what it held at the start

	need    core.Size // of want, not here
	got     core.Size // of want, received
	began   bool      // it received something
	relayed int       // units here or on their way that it does not keep
	carry   float64   // bytes that the plan has it pass on, still

	out, in []int // neighbours
	lanes   []*lane
	given   []float64 // by receiver: bytes of first copies
	first   []float64 // by receiver: what it can do with them
	entered float64   // bytes that came to it across trunks
	active  int       // flows under way from here
	hungry  bool      // has bandwidth that it found no use for

	share, gave []float64 // in a fetch, by part: what it should give, and what it gave

	lost, noticed bool
	lastGot       float64 // seconds
}

// lane is everything from one node to another: both ends of a flow, and the account of the link.
type lane struct {
	from, to *node
	link     core.Rate     // 0 is unlimited
	delay    time.Duration // of messages and bytes on their way
	accounts []string      // the sender's: its uplink, the link, a trunk
	trunk    *trunk

	asker, grantor *task.Flow
	hold, lease    uint64 // in the book
	units          []int  // by number in the flow
	busy           bool
	taste          bool          // the lease that stands was for one run, since the receiver had nothing yet
	leased         time.Duration // since when, without a break
	warm           time.Duration // until then TCP keeps its window
	planned        bool          // the fluid plan sends over it
	cut, gone      bool          // nothing passes any more; both ends know it
	epoch          int           // counts flows: what belongs to an earlier one is void
	carried        core.Size

	ahead   core.Forecast // of link
	number  int           // of the run that is being sent
	sending bool          // there is one
	left    float64       // bytes of it that were still to be sent at since
	since   time.Duration
	spared  float64 // bytes of it that were there before
	pacedAt core.Rate
	paced   uint64 // counts the times at which it was to arrive: only the last is right
}

// trunk is a cap that all lanes from one zone to another share.
type trunk struct {
	name     string
	from, to int // zones
	rate     core.Rate
	ahead    core.Forecast
	carried  core.Size
}

// zone knows which units have come into it.
type zone struct {
	name    string
	members []int
	copies  []int32   // by unit: there or on the way
	need    core.Size // wanted by some member, kept by none
	wanted  set
	there   set
}
