// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bkp-tool/bkp/core"
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

// job is one run for the writer.
type job struct {
	transfer uint64
	number   int
	run      Run
	size     core.Size
}

// writer writes runs into one session at the pace of a lease. One goroutine; it lives as long as the lease.
type writer struct {
	session Session
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
	faster  chan struct{} // the lease was raised
	waiting int           // jobs not wholly written
}

func (fs *Flows) startWriter(f *Flow, r core.Rate) {
	s, _ := fs.node.Session(f.Peer)
	if s == nil {
		return
	}
	loop, log := fs.loop, fs.Log
	ctx, cancel := context.WithCancel(fs.Life)
	w := &writer{session: s, limiter: rate.NewLimiter(0, 0), end: cancel, wake: make(chan struct{}, 1),
		faster: make(chan struct{}, 1), dead: map[uint64]bool{},
		low: func() { loop.Post(func(*Flows) { f.side.More(f) }) }}
	w.setRate(r)
	w.limiter.AllowN(time.Now(), w.limiter.Burst()) // a new lease begins without savings
	f.writer = w
	loop.Act(func() {
		w.run(ctx, func(number int, err error) {
			loop.Post(func(fs *Flows) {
				if err != nil {
					log.Warn("send run", "peer", f.Peer.Short(), "run", number, "error", err)
					fs.Failed(f, number, err)
					return
				}
				f.side.More(f)
			})
		})
	})
}

// setRate paces what is sent from now on: payload is the lease less what the wire adds.
func (w *writer) setRate(r core.Rate) {
	if w == nil || w.rate == r {
		return
	}
	w.pace(r)
	payload := r.Payload()
	frame := min(max(int64(float64(payload)*frameTime.Seconds()), minFrame), maxFrame)
	w.frame.Store(frame)
	w.limiter.SetBurst(int(max(2*frame, int64(float64(payload)*burstTime.Seconds()))))
	if w.limiter.SetLimit(rate.Limit(payload)); r > w.rate {
		signal(w.faster)
	}
	w.rate = r
}

// pace has the kernel send what the limiter lets through in one piece evenly, a little faster than the lease.
func (w *writer) pace(r core.Rate) {
	next := core.Rate(min(headroom*float64(r), unpaced))
	w.session.Pace(next - w.paced)
	w.paced = next
}

func (w *writer) push(j job) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jobs = append(w.jobs, j)
	w.left.Add(int64(j.size))
	w.waiting++
	signal(w.wake)
}

// queued is how many runs are not wholly written.
func (w *writer) queued() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waiting
}

// unwritten is how much of its jobs is not written, and is to be told when that is less than ahead.
func (w *writer) unwritten(ahead core.Size) core.Size {
	if w == nil {
		return 0
	}
	w.ahead.Store(int64(ahead))
	return core.Size(w.left.Load())
}

// wrote notes that so much less is left.
func (w *writer) wrote(size core.Size) {
	now := w.left.Add(-int64(size)) // before ahead is read: unwritten sets that first
	if ahead := w.ahead.Load(); now < ahead && now+int64(size) >= ahead {
		w.low()
	}
}

// cancel stops a run that the other end gave up.
func (w *writer) cancel(transfer uint64) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead[transfer] = true
}

func (w *writer) isDead(transfer uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead[transfer]
}

// readTime is how long the writer has read from the store since it was asked last.
func (w *writer) readTime() time.Duration {
	if w == nil {
		return 0
	}
	return time.Duration(w.reading.Swap(0))
}

// stop ends the writer; what it was writing stays incomplete.
func (w *writer) stop() {
	if w != nil {
		w.pace(0)
		w.end()
	}
}

func (w *writer) next(ctx context.Context) (job, bool) {
	for {
		w.mu.Lock()
		if len(w.jobs) > 0 {
			j := w.jobs[0]
			w.jobs = w.jobs[1:]
			w.mu.Unlock()
			return j, true
		}
		w.mu.Unlock()
		select {
		case <-w.wake:
		case <-ctx.Done():
			return job{}, false
		}
	}
}

// run writes one run after another until the lease ends, and tells of each how that went.
func (w *writer) run(ctx context.Context, wrote func(number int, err error)) {
	var buffer []byte
	for {
		j, ok := w.next(ctx)
		if !ok {
			return
		}
		written, err := w.write(ctx, j, &buffer)
		w.left.Add(-int64(j.size - written))
		w.mu.Lock()
		w.waiting--
		w.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		wrote(j.number, err)
	}
}

// write sends the chunks of one run, each in messages of at most a frame, and says how many bytes it wrote.
func (w *writer) write(ctx context.Context, j job, buffer *[]byte) (written core.Size, err error) {
	for i, c := range j.run.Begin.Chunks {
		began := time.Now()
		if *buffer, err = j.run.Store.Get(ctx, c.Hash, (*buffer)[:0]); err != nil {
			return written, err
		}
		w.reading.Add(int64(time.Since(began)))
		for data := *buffer; len(data) > 0; {
			if w.isDead(j.transfer) {
				return written, nil
			}
			size := min(int(w.frame.Load()), len(data))
			if ok, err := w.await(ctx, size); err != nil {
				return written, err
			} else if !ok {
				continue // the lease was lowered a moment ago
			}
			if err := w.session.SendData(ctx, j.transfer, uint32(i), uint32(len(*buffer)-len(data)),
				data[:size]); err != nil {
				return written, err
			}
			data = data[size:]
			written += core.Size(size)
			w.wrote(core.Size(size))
		}
	}
	return written, nil
}

// await returns when so many bytes may be written, sooner where the lease is raised meanwhile; false where they are
// more than go at once.
func (w *writer) await(ctx context.Context, size int) (ok bool, err error) {
	for {
		r := w.limiter.ReserveN(time.Now(), size)
		if !r.OK() {
			return false, nil
		}
		timer := time.NewTimer(r.Delay())
		select {
		case <-timer.C:
			return true, nil
		case <-w.faster:
			r.Cancel()
		case <-ctx.Done():
			err = ctx.Err()
		}
		if timer.Stop(); err != nil {
			return false, err
		}
	}
}

// signal leaves one word in c unless one is there already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
