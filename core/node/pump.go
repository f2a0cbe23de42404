// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/link"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
	"golang.org/x/time/rate"
)

const (
	minFrame = 16 << 10 // as TLS takes it
	maxFrame = 1 << 20
	// frameTime is how much of its lease one data message takes, between minFrame and maxFrame: a lease that begins
	// waits for the first.
	frameTime = 20 * time.Millisecond
	// burstTime is how much of the lease may be made up for after a pause that a busy machine or a full socket caused:
	// little enough that no 2 s carry more than the lease and its 5 %.
	burstTime = 60 * time.Millisecond
	// headroom is how much faster than a lease the kernel may send, to make up for a pause without a burst that fills
	// queues on the way.
	headroom = 1.1
	// unpaced is more than any link carries: what is said to the kernel for a lease without limits, of which some can
	// be added up.
	unpaced = 1 << 50
)

// runToSend is a run that can be sent: its announcement and where its chunks are.
type runToSend struct {
	begin wire.TransmissionBegin
	store Chunks
}

// Chunks gives the stored bytes of chunks, as a storage.Store does.
type Chunks interface {
	Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error)
}

// job is one run for the pump.
type job struct {
	transfer uint64
	number   int
	toSend   runToSend
	size     core.Size
}

// pump writes runs into one session at the pace of a lease. One goroutine; it lives as long as the lease.
type pump struct {
	session *link.Session
	limiter *rate.Limiter
	rate    core.Rate // what it is paced at; the loop's
	paced   core.Rate // and what the kernel is told for that
	frame   atomic.Int64
	reading atomic.Int64 // nanoseconds spent reading from the store since readTime was asked last
	left    atomic.Int64 // bytes of its jobs that are not written yet
	ahead   atomic.Int64 // it calls low when fewer are left
	low     func()
	end     context.CancelFunc

	mu      sync.Mutex
	jobs    []job
	dead    map[uint64]bool // transfers that were aborted
	wake    chan struct{}
	waiting int // jobs not wholly written
}

func (n *state) startPump(f *flow, r core.Rate) {
	p := n.peers[f.peer]
	if p == nil || p.session == nil {
		return
	}
	node, more := n.Node, do(func(n *state) { f.side.more(n, f) })
	ctx, cancel := context.WithCancel(node.ctx)
	pm := &pump{session: p.session, limiter: rate.NewLimiter(0, 0), end: cancel, wake: make(chan struct{}, 1),
		dead: map[uint64]bool{},
		low:  func() { node.post(more) }}
	pm.setRate(r)
	pm.limiter.AllowN(time.Now(), pm.limiter.Burst()) // a new lease begins without savings
	f.pump = pm
	node.act(func() { node.runPump(ctx, f, pm) })
}

// setRate paces what is sent from now on: payload is the lease less what the wire adds.
func (p *pump) setRate(r core.Rate) {
	if p == nil || p.rate == r {
		return
	}
	p.pace(r)
	p.rate = r
	payload := r.Payload()
	frame := min(max(int64(float64(payload)*frameTime.Seconds()), minFrame), maxFrame)
	p.frame.Store(frame)
	p.limiter.SetBurst(int(max(2*frame, int64(float64(payload)*burstTime.Seconds()))))
	p.limiter.SetLimit(rate.Limit(payload))
}

// pace has the kernel send what the limiter lets through in one piece evenly, a little faster than the lease.
func (p *pump) pace(r core.Rate) {
	next := core.Rate(min(headroom*float64(r), unpaced))
	p.session.Pace(next - p.paced)
	p.paced = next
}

func (p *pump) push(j job) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jobs = append(p.jobs, j)
	p.left.Add(int64(j.size))
	p.waiting++
	signal(p.wake)
}

// queued is how many runs are not wholly written.
func (p *pump) queued() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting
}

// unwritten is how much of its jobs is not written, and is to be told when that is less than ahead.
func (p *pump) unwritten(ahead core.Size) core.Size {
	if p == nil {
		return 0
	}
	p.ahead.Store(int64(ahead))
	return core.Size(p.left.Load())
}

// wrote notes that so much less is left.
func (p *pump) wrote(size core.Size) {
	now := p.left.Add(-int64(size)) // before ahead is read: unwritten sets that first
	if ahead := p.ahead.Load(); now < ahead && now+int64(size) >= ahead {
		p.low()
	}
}

// cancel stops a run that the other end gave up.
func (p *pump) cancel(transfer uint64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead[transfer] = true
}

func (p *pump) isDead(transfer uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead[transfer]
}

// readTime is how long the pump has read from the store since it was asked last.
func (p *pump) readTime() time.Duration {
	if p == nil {
		return 0
	}
	return time.Duration(p.reading.Swap(0))
}

// stop ends the pump; what it was writing stays incomplete.
func (p *pump) stop() {
	if p != nil {
		p.pace(0)
		p.end()
	}
}

func (p *pump) next(ctx context.Context) (job, bool) {
	for {
		p.mu.Lock()
		if len(p.jobs) > 0 {
			j := p.jobs[0]
			p.jobs = p.jobs[1:]
			p.mu.Unlock()
			return j, true
		}
		p.mu.Unlock()
		select {
		case <-p.wake:
		case <-ctx.Done():
			return job{}, false
		}
	}
}

func (n *Node) runPump(ctx context.Context, f *flow, p *pump) {
	var buffer []byte
	for {
		j, ok := p.next(ctx)
		if !ok {
			return
		}
		written, err := p.write(ctx, j, &buffer)
		p.left.Add(-int64(j.size - written))
		p.mu.Lock()
		p.waiting--
		p.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		n.post(do(func(n *state) {
			if err != nil {
				n.Log.Warn("send run", "peer", f.peer.Short(), "run", j.number, "error", err)
				n.step(f, task.Event{Kind: task.RunFailed, Run: j.number, Reason: reasonFor(err)})
				return
			}
			f.side.more(n, f)
		}))
	}
}

// write sends the chunks of one run, each in messages of at most a frame, and says how many bytes it wrote.
func (p *pump) write(ctx context.Context, j job, buffer *[]byte) (written core.Size, err error) {
	for i, c := range j.toSend.begin.Chunks {
		began := time.Now()
		if *buffer, err = j.toSend.store.Get(ctx, c.Hash, (*buffer)[:0]); err != nil {
			return written, err
		}
		p.reading.Add(int64(time.Since(began)))
		for data := *buffer; len(data) > 0; {
			if p.isDead(j.transfer) {
				return written, nil
			}
			size := min(int(p.frame.Load()), len(data))
			if err := p.limiter.WaitN(ctx, size); err != nil {
				if ctx.Err() == nil && size > p.limiter.Burst() {
					continue // the lease was lowered a moment ago
				}
				return written, err
			}
			if err := p.session.SendData(ctx, j.transfer, uint32(i), uint32(len(*buffer)-len(data)),
				data[:size]); err != nil {
				return written, err
			}
			data = data[size:]
			written += core.Size(size)
			p.wrote(core.Size(size))
		}
	}
	return written, nil
}

// reasonFor is what an error of this node's own is called on the wire.
func reasonFor(err error) core.Reason {
	switch core.CodeOf(err) {
	case core.CodeWrong:
		return core.ReasonCorrupt
	case core.CodeOK:
		return core.ReasonNone
	default:
		return core.ReasonInternal
	}
}

// signal leaves one word in c unless one is there already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
