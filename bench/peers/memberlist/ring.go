package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

// headerBytes is what IPv4 and UDP add to a payload on the wire.
const headerBytes = 28

// joiners join at the same time; more than these many push/pulls at one seed are refused anyway.
const joiners = 16

// joinTime is ten times what a ring of 100 takes. One that has not converged by then has lost news
// (the next full exchange is 90 s away) or drowns in false deaths.
const joinTime = 30 * time.Second

// passes of full exchanges that may repair a join which gossip has lost.
const passes = 5

// settleTime is waited for at most after an event, so that the next one starts from rest.
const settleTime = 60 * time.Second

type ringOptions struct {
	members, network, port, crashes, rumors int
	steady, stalls                          time.Duration
	stalled                                 int
	wanted                                  map[string]bool
}

// gate holds back what a member reads while it is stalled; the kernel's buffers fill up meanwhile.
type gate struct{ until atomic.Int64 }

func (g *gate) wait() {
	for {
		left := time.Duration(g.until.Load() - time.Now().UnixNano())
		if left <= 0 {
			return
		}
		time.Sleep(left)
	}
}

// countedTransport is memberlist's own UDP and TCP transport with counters in front, and with a gate
// that stalls what it receives if there shall be stalls.
type countedTransport struct {
	*memberlist.NetTransport
	packets, bytes *atomic.Int64
	gate           *gate
	gatedPackets   chan *memberlist.Packet
	gatedStreams   chan net.Conn
}

func (t *countedTransport) PacketCh() <-chan *memberlist.Packet {
	if t.gate == nil {
		return t.NetTransport.PacketCh()
	}
	return t.gatedPackets
}

func (t *countedTransport) StreamCh() <-chan net.Conn {
	if t.gate == nil {
		return t.NetTransport.StreamCh()
	}
	return t.gatedStreams
}

func (t *countedTransport) pass() {
	go func() {
		for packet := range t.NetTransport.PacketCh() {
			t.gate.wait()
			t.gatedPackets <- packet
		}
	}()
	go func() {
		for conn := range t.NetTransport.StreamCh() {
			t.gate.wait()
			t.gatedStreams <- conn
		}
	}()
}

func (t *countedTransport) WriteTo(data []byte, address string) (time.Time, error) {
	t.packets.Add(1)
	t.bytes.Add(int64(len(data)) + headerBytes)
	return t.NetTransport.WriteTo(data, address)
}

func (t *countedTransport) WriteToAddress(data []byte, a memberlist.Address) (time.Time, error) {
	t.packets.Add(1)
	t.bytes.Add(int64(len(data)) + headerBytes)
	return t.NetTransport.WriteToAddress(data, a)
}

// DialTimeout counts the bytes of both directions: the other end accepts and is not counted.
func (t *countedTransport) DialTimeout(address string, wait time.Duration) (net.Conn, error) {
	conn, err := t.NetTransport.DialTimeout(address, wait)
	if err != nil {
		return nil, err
	}
	return &countedConn{conn, t.bytes, t.gate}, nil
}

func (t *countedTransport) DialAddressTimeout(
	a memberlist.Address, wait time.Duration,
) (net.Conn, error) {
	return t.DialTimeout(a.Addr, wait)
}

type countedConn struct {
	net.Conn
	bytes *atomic.Int64
	gate  *gate
}

func (c *countedConn) Read(data []byte) (int, error) {
	n, err := c.Conn.Read(data)
	if c.gate != nil {
		c.gate.wait()
	}
	c.bytes.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(data []byte) (int, error) {
	n, err := c.Conn.Write(data)
	c.bytes.Add(int64(n))
	return n, err
}

// member is one memberlist with what it has seen: it is its own delegate.
type member struct {
	ring  *ring
	index int
	list  *memberlist.Memberlist
	queue *memberlist.TransmitLimitedQueue
	alive atomic.Int64 // members it holds alive, itself included
	gone  bool         // crashed by us
	gate  *gate
	slow  bool // stalled now and then

	mutex  sync.Mutex
	dead   map[string]time.Time // when it declared whom
	rumors map[uint64]time.Time // when it first saw which rumor
	copies atomic.Int64
}

func (m *member) NodeMeta(int) []byte                          { return nil }
func (m *member) LocalState(bool) []byte                       { return nil }
func (m *member) MergeRemoteState([]byte, bool)                {}
func (m *member) NotifyUpdate(*memberlist.Node)                {}
func (m *member) GetBroadcasts(o, limit int) [][]byte          { return m.queue.GetBroadcasts(o, limit) }
func (m *member) NotifyJoin(node *memberlist.Node)             { m.alive.Add(1) }
func (b rumorBroadcast) Invalidates(memberlist.Broadcast) bool { return false }
func (b rumorBroadcast) Message() []byte                       { return b }
func (b rumorBroadcast) Finished()                             {}

type rumorBroadcast []byte

func (m *member) NotifyLeave(node *memberlist.Node) {
	m.alive.Add(-1)
	m.mutex.Lock()
	m.dead[node.Name] = time.Now()
	m.mutex.Unlock()
	if m.ring.killed(node.Name) || m.gone {
		return
	}
	m.ring.falseDeaths.Add(1)
	if index, err := strconv.Atoi(strings.TrimPrefix(node.Name, "member-")); err == nil &&
		!m.ring.members[index].slow {
		m.ring.healthyDeaths.Add(1)
		if !m.slow {
			m.ring.deathsByHealthy.Add(1)
		}
	}
}

// NotifyMsg passes a rumor on at the first sight of it, as serf does with its events.
func (m *member) NotifyMsg(data []byte) {
	m.copies.Add(1)
	id := binary.BigEndian.Uint64(data)
	m.mutex.Lock()
	_, known := m.rumors[id]
	if !known {
		m.rumors[id] = time.Now()
	}
	m.mutex.Unlock()
	if !known {
		m.queue.QueueBroadcast(rumorBroadcast(append([]byte(nil), data...)))
	}
}

type ring struct {
	members         []*member
	packets, bytes  atomic.Int64
	falseDeaths     atomic.Int64
	healthyDeaths   atomic.Int64 // of members that were never stalled, told by anybody
	deathsByHealthy atomic.Int64 // and told by such members
	victims         sync.Map
}

func (r *ring) killed(name string) bool {
	_, found := r.victims.Load(name)
	return found
}

func (r *ring) running() []*member {
	var out []*member
	for _, m := range r.members {
		if !m.gone {
			out = append(out, m)
		}
	}
	return out
}

// converged waits until every running member holds exactly the running ones alive.
func (r *ring) converged(limit time.Duration) bool {
	end := time.Now().Add(limit)
	members := r.running()
	for {
		done := true
		for _, m := range members {
			if m.alive.Load() != int64(len(members)) {
				done = false
				break
			}
		}
		if done || time.Now().After(end) {
			return done
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func newRing(config *memberlist.Config, options ringOptions) (*ring, error) {
	r := &ring{}
	for i := range options.members {
		m := &member{
			ring: r, index: i,
			dead: map[string]time.Time{}, rumors: map[uint64]time.Time{},
		}
		own := *config
		own.Name = fmt.Sprintf("member-%06d", i)
		own.BindAddr = fmt.Sprintf("127.%d.%d.%d", options.network, i/250, 1+i%250)
		own.BindPort, own.AdvertisePort = options.port, options.port
		own.AdvertiseAddr = own.BindAddr
		own.LogOutput = io.Discard
		own.Delegate, own.Events = m, m
		transport, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{own.BindAddr}, BindPort: options.port, Logger: discard,
		})
		if err != nil {
			return nil, err
		}
		counted := &countedTransport{
			NetTransport: transport, packets: &r.packets, bytes: &r.bytes,
		}
		if options.wanted["stalls"] {
			counted.gate = &gate{}
			counted.gatedPackets = make(chan *memberlist.Packet)
			counted.gatedStreams = make(chan net.Conn)
			counted.pass()
		}
		own.Transport, m.gate = counted, counted.gate
		m.queue = &memberlist.TransmitLimitedQueue{
			NumNodes:       func() int { return m.list.NumMembers() },
			RetransmitMult: own.RetransmitMult,
		}
		if m.list, err = memberlist.Create(&own); err != nil {
			return nil, err
		}
		r.members = append(r.members, m)
	}
	return r, nil
}

func (r *ring) join(options ringOptions) error {
	seed := r.members[0].list
	address := net.JoinHostPort(seed.LocalNode().Addr.String(), strconv.Itoa(options.port))
	work := make(chan *member)
	failures := make(chan error, options.members)
	var group sync.WaitGroup
	for range joiners {
		group.Add(1)
		go func() {
			defer group.Done()
			for m := range work {
				if _, err := m.list.Join([]string{address}); err != nil {
					failures <- err
				}
			}
		}()
	}
	for _, m := range r.members[1:] {
		work <- m
	}
	close(work)
	group.Wait()
	close(failures)
	var all []error
	for err := range failures {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// repair lets every member exchange its full state with a random other, instead of waiting for it.
func (r *ring) repair() bool {
	for range passes {
		for _, m := range r.members {
			other := r.members[rand.IntN(len(r.members))].list.LocalNode()
			if _, err := m.list.Join([]string{other.Address()}); err != nil {
				fmt.Fprintln(os.Stderr, "join:", err)
			}
		}
		if r.converged(5 * time.Second) {
			return true
		}
	}
	return false
}

// crash closes the sockets of some members without a word; it returns when each running member had
// declared which victim, sorted, in seconds. Incomplete after settleTime.
func (r *ring) crash(victims []*member) ([]float64, bool) {
	start := time.Now()
	for _, m := range victims {
		r.victims.Store(m.list.LocalNode().Name, true)
		m.gone = true
	}
	for _, m := range victims {
		if err := m.list.Shutdown(); err != nil {
			fmt.Fprintln(os.Stderr, "shutdown:", err)
		}
	}
	ok := r.converged(settleTime)
	var times []float64
	for _, m := range r.running() {
		m.mutex.Lock()
		last := time.Duration(0)
		for _, victim := range victims {
			if t, found := m.dead[victim.list.LocalNode().Name]; found {
				last = max(last, t.Sub(start))
			}
		}
		m.mutex.Unlock()
		times = append(times, last.Seconds())
	}
	sort.Float64s(times)
	return times, ok
}

func (r *ring) spread(id uint64) (median, last float64, copies float64, ok bool) {
	members := r.running()
	var before int64
	for _, m := range members {
		before += m.copies.Load()
	}
	data := make([]byte, 256)
	binary.BigEndian.PutUint64(data, id)
	for i := 8; i < len(data); i++ {
		data[i] = byte(rand.Uint32()) // random: a rumor that compresses is another question
	}
	source := members[rand.IntN(len(members))]
	start := time.Now()
	source.mutex.Lock()
	source.rumors[id] = start
	source.mutex.Unlock()
	source.queue.QueueBroadcast(rumorBroadcast(data))
	var times []float64
	for end := start.Add(5 * time.Second); len(times) < len(members) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		times = times[:0]
		for _, m := range members {
			m.mutex.Lock()
			if t, found := m.rumors[id]; found {
				times = append(times, t.Sub(start).Seconds())
			}
			m.mutex.Unlock()
		}
	}
	time.Sleep(4 * time.Second) // the copies go on after the last has it
	var after int64
	for _, m := range members {
		after += m.copies.Load()
	}
	sort.Float64s(times)
	n := len(times)
	return times[n/2], times[n-1], float64(after-before) / float64(len(members)), n == len(members)
}

func measureRing(result *report, config *memberlist.Config, options ringOptions) {
	base := residentKiB()
	r, err := newRing(config, options)
	if err != nil {
		result.note("could not start: %v", err)
		return
	}
	cpu, start := cpuSeconds(), time.Now()
	if err := r.join(options); err != nil {
		result.note("join: %.200v", err)
	}
	joined := r.converged(joinTime)
	if !joined {
		var views []int64
		for _, m := range r.members {
			views = append(views, m.alive.Load())
		}
		slices.Sort(views)
		result.note("not everybody saw everybody %s after the joins: views of %d to %d, median %d; "+
			"%d false deaths, %.1f s of CPU", joinTime, views[0], views[len(views)-1],
			views[len(views)/2], r.falseDeaths.Load(), cpuSeconds()-cpu)
		if !r.repair() {
			result.note("the ring never converged")
			return
		}
	}
	if options.wanted["join"] && joined {
		result.add("join_wall_s", time.Since(start).Seconds())
		result.add("join_cpu_s", cpuSeconds()-cpu)
	}
	if options.wanted["steady"] {
		r.rest(5 * time.Second)
		r.measureSteady(result, options, base)
	}
	if options.wanted["rumor"] {
		r.rest(2 * time.Second)
		for i := range options.rumors {
			median, last, copies, ok := r.spread(uint64(i) + 1)
			if !ok {
				result.note("rumor %d did not reach everybody", i+1)
				last = 5
			}
			result.add("rumor_median_s", median)
			result.add("rumor_last_s", last)
			result.add("rumor_copies", copies)
		}
	}
	if options.wanted["stalls"] {
		r.rest(5 * time.Second)
		r.measureStalls(result, options)
	}
	if options.wanted["crash"] {
		for range options.crashes {
			r.rest(time.Second + time.Duration(rand.Int64N(int64(config.ProbeInterval))))
			members := r.running()
			times, ok := r.crash(members[rand.IntN(len(members)):][:1])
			if !ok {
				result.note("a crash was not known to all after %s", settleTime)
				break
			}
			result.add("crash_first_knows_s", times[0])
			result.add("crash_all_know_s", times[len(times)-1])
		}
	}
	if options.wanted["crash10"] {
		r.rest(2 * time.Second)
		members := r.running()
		rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		times, ok := r.crash(members[:max(1, len(members)/10)])
		if ok {
			result.add("crash10_all_know_s", times[len(times)-1])
		} else {
			result.note("a 10 %% crash was not known to all after %s", settleTime)
		}
	}
	result.add("false_deaths", float64(r.falseDeaths.Load()))
}

// rest lets the queues run empty.
func (r *ring) rest(wait time.Duration) { time.Sleep(wait) }

func (r *ring) measureSteady(result *report, options ringOptions, base float64) {
	n := float64(options.members)
	debug.FreeOSMemory()
	result.add("rss_kb_per_member", (residentKiB()-base)/n)
	cpu, start := cpuSeconds(), time.Now()
	packets, bytes := r.packets.Load(), r.bytes.Load()
	time.Sleep(options.steady)
	seconds := time.Since(start).Seconds()
	result.add("steady_cpu_ms_per_member_s", (cpuSeconds()-cpu)*1000/n/seconds)
	result.add("steady_packets_per_member_s", float64(r.packets.Load()-packets)/n/seconds)
	result.add("steady_bytes_per_member_s", float64(r.bytes.Load()-bytes)/n/seconds)
}

// measureStalls lets some members' receivers stop for 0.1 to 32 s again and again, every factor
// equally likely, 1 to 20 s apart, and counts what is said of the others.
func (r *ring) measureStalls(result *report, options ringOptions) {
	end := time.Now().Add(options.stalls)
	for _, index := range rand.Perm(len(r.members))[:options.stalled] {
		m := r.members[index]
		m.slow = true
		go func() {
			time.Sleep(time.Duration(rand.Float64() * 20 * float64(time.Second)))
			for time.Now().Before(end) {
				length := time.Duration(0.1 * math.Pow(320, rand.Float64()) * float64(time.Second))
				m.gate.until.Store(time.Now().Add(length).UnixNano())
				time.Sleep(length + time.Duration((1+19*rand.Float64())*float64(time.Second)))
			}
		}()
	}
	time.Sleep(time.Until(end))
	hours := options.stalls.Hours() * float64(len(r.members))
	result.add("stalls_member_hours", hours)
	result.add("stalls_healthy_declared_dead", float64(r.healthyDeaths.Load()))
	result.add("stalls_healthy_declared_dead_by_healthy", float64(r.deathsByHealthy.Load()))
	result.add("stalls_any_declared_dead", float64(r.falseDeaths.Load()))
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}

func residentKiB() float64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, err := strconv.ParseFloat(strings.Fields(string(data))[1], 64)
	if err != nil {
		return 0
	}
	return pages * float64(os.Getpagesize()) / 1024
}
