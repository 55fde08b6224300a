package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"runtime"
	"testing"
	"time"
	_ "unsafe" // for linkname

	"github.com/hashicorp/memberlist"
)

// memberlist's own encoder and packet builder. They are not exported, and the parts of a packet's
// cost can't be told apart from outside. Everything that handles packets goes through the
// transport.

//go:linkname encode github.com/hashicorp/memberlist.encode
func encode(kind uint8, message any, newTimeFormat bool) (*bytes.Buffer, error)

//go:linkname makeCompound github.com/hashicorp/memberlist.makeCompoundMessage
func makeCompound(messages [][]byte) *bytes.Buffer

//go:linkname compressPayload github.com/hashicorp/memberlist.compressPayload
func compressPayload(data []byte, newTimeFormat bool) (*bytes.Buffer, error)

//go:linkname sendLocalState github.com/hashicorp/memberlist.(*Memberlist).sendLocalState
func sendLocalState(m *memberlist.Memberlist, conn net.Conn, join bool, label string) error

// Numbers and field names of the wire format, version 5.
const (
	pingKind  = 0
	aliveKind = 4
	userKind  = 8
)

type pingFields struct {
	SeqNo      uint32
	Node       string
	SourceAddr []byte `codec:",omitempty"`
	SourcePort uint16 `codec:",omitempty"`
	SourceNode string `codec:",omitempty"`
}

type aliveFields struct {
	Incarnation uint32
	Node        string
	Addr        []byte
	Port        uint16
	Meta        []byte
	Vsn         []uint8
}

const (
	updates    = 6   // in one packet
	window     = 64  // packets of learn between two barriers: the hand-off queue holds 1024 updates
	knownNodes = 100 // members that the handling member knows
)

var discard = log.New(io.Discard, "", 0)

// memoryTransport hands packets and streams to a member and swallows what it sends.
type memoryTransport struct {
	packets chan *memberlist.Packet
	streams chan net.Conn
	sent    int
	bytes   int
}

func (t *memoryTransport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.IPv4(127, 0, 0, 1), 7946, nil
}

func (t *memoryTransport) WriteTo(data []byte, _ string) (time.Time, error) {
	t.sent++
	t.bytes += len(data)
	return time.Now(), nil
}

func (t *memoryTransport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *memoryTransport) StreamCh() <-chan net.Conn           { return t.streams }
func (t *memoryTransport) Shutdown() error                     { return nil }

func (t *memoryTransport) DialTimeout(string, time.Duration) (net.Conn, error) {
	return nil, io.ErrClosedPipe
}

// handler is a member without timers: it only answers what it is given.
type handler struct {
	list      *memberlist.Memberlist
	transport *memoryTransport
	barrier   chan struct{}
}

func (h *handler) NodeMeta(int) []byte             { return nil }
func (h *handler) NotifyMsg([]byte)                { h.barrier <- struct{}{} }
func (h *handler) GetBroadcasts(_, _ int) [][]byte { return nil }
func (h *handler) LocalState(bool) []byte          { return nil }
func (h *handler) MergeRemoteState([]byte, bool)   {}

func newHandler(compress bool) *handler {
	h := &handler{
		transport: &memoryTransport{
			packets: make(chan *memberlist.Packet), streams: make(chan net.Conn),
		},
		barrier: make(chan struct{}, 1),
	}
	config := memberlist.DefaultLANConfig()
	config.Name = "handler"
	config.Transport = h.transport
	config.Delegate = h
	config.LogOutput = io.Discard
	config.EnableCompression = compress
	config.ProbeInterval, config.GossipInterval, config.PushPullInterval = 0, 0, 0
	list, err := memberlist.Create(config)
	if err != nil {
		panic(err)
	}
	h.list = list
	return h
}

func (h *handler) give(data []byte) {
	h.transport.packets <- &memberlist.Packet{
		Buf: data, From: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2), Port: 7946}, Timestamp: time.Now(),
	}
}

// wait returns when all that was given is handled: a user message is taken from its queue only when
// the queue of updates is empty.
func (h *handler) wait() {
	h.give([]byte{userKind, 0})
	<-h.barrier
}

// learn tells the handler of some members.
func (h *handler) learn(count int) {
	for first := 0; first < count; first += updates {
		var messages [][]byte
		for i := first; i < min(count, first+updates); i++ {
			messages = append(messages, aliveMessage(i, 1))
		}
		h.give(makeCompound(messages).Bytes())
		if first/updates%window == window-1 {
			h.wait()
		}
	}
	h.wait()
	if got := h.list.NumMembers(); got != count+1 {
		panic(fmt.Sprintf("%d members are known, want %d", got, count+1))
	}
}

func encoded(kind uint8, message any) []byte {
	buffer, err := encode(kind, message, false)
	if err != nil {
		panic(err)
	}
	return buffer.Bytes()
}

func aliveMessage(index int, incarnation uint32) []byte {
	return encoded(aliveKind, &aliveFields{
		Incarnation: incarnation, Node: fmt.Sprintf("member-%06d", index),
		Addr: []byte{127, 1, byte(index / 250), byte(1 + index%250)}, Port: 7946,
		Vsn: []uint8{1, 5, 2, 0, 0, 0},
	})
}

func pingMessage(sequence int) []byte {
	return encoded(pingKind, &pingFields{
		SeqNo: uint32(sequence), Node: "handler", SourceAddr: []byte{127, 1, 0, 1}, SourcePort: 7946,
		SourceNode: "member-000000",
	})
}

// packet is one ping with six updates, built as memberlist builds it.
func packet(sequence int, incarnation uint32, compress bool) []byte {
	messages := [][]byte{pingMessage(sequence)}
	for i := range updates {
		messages = append(messages, aliveMessage(i, incarnation))
	}
	data := makeCompound(messages).Bytes()
	if compress {
		if small, err := compressPayload(data, false); err == nil && small.Len() < len(data) {
			data = small.Bytes()
		}
	}
	return data
}

// stopwatch counts CPU time beside the benchmark's wall time, which a busy machine spoils.
type stopwatch struct{ spent, started float64 }

func (w *stopwatch) start(b *testing.B) {
	b.StartTimer()
	w.started = cpuSeconds()
}

func (w *stopwatch) stop(b *testing.B) {
	w.spent += cpuSeconds() - w.started
	b.StopTimer()
}

// record runs a benchmark that starts and stops the watch itself, and keeps CPU time per operation.
func record(result *report, name string, run func(b *testing.B, watch *stopwatch)) {
	var watch stopwatch
	outcome := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		b.StopTimer()
		watch = stopwatch{}
		run(b, &watch)
	})
	result.add(name+"_us", watch.spent*1e6/float64(outcome.N))
	result.add(name+"_allocations", float64(outcome.AllocsPerOp()))
}

// measurePackets measures the cost of one packet on one processor, so that time is CPU time, the
// collector's share included.
func measurePackets(result *report) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	idle := newHandler(true)
	record(result, "barrier", func(b *testing.B, watch *stopwatch) {
		watch.start(b)
		for range b.N {
			idle.wait()
		}
		watch.stop(b)
	})
	for _, compress := range []bool{true, false} {
		suffix := ""
		if !compress {
			suffix = "_plain"
		}
		result.add("packet_bytes"+suffix, float64(len(packet(1, 1, compress))))
		record(result, "build_packet"+suffix, func(b *testing.B, watch *stopwatch) {
			watch.start(b)
			for i := range b.N {
				packet(i, 1, compress)
			}
			watch.stop(b)
		})
		for _, news := range []bool{true, false} {
			name := "handle_known"
			if news {
				name = "handle_packet"
			}
			h := newHandler(compress)
			h.learn(knownNodes)
			incarnation := uint32(1)
			acks, ackBytes, handled := h.transport.sent, h.transport.bytes, 0
			// A barrier after each packet: updates are taken from their queue last in, first out, so
			// that of several packets about the same members only the last one's are news.
			record(result, name+suffix, func(b *testing.B, watch *stopwatch) {
				for first := 0; first < b.N; first += window {
					packets := make([][]byte, min(window, b.N-first))
					for i := range packets {
						if news {
							incarnation++
						}
						packets[i] = packet(i, incarnation, compress)
					}
					watch.start(b)
					for _, data := range packets {
						h.give(data)
						h.wait()
					}
					watch.stop(b)
				}
				handled += b.N
			})
			answered := h.transport.sent - acks
			if answered != handled {
				result.note("%s%s: %d of %d packets answered", name, suffix, answered, handled)
			}
			result.add(name+suffix+"_ack_bytes", float64(h.transport.bytes-ackBytes)/float64(answered))
			if err := h.list.Shutdown(); err != nil {
				result.note("shutdown: %v", err)
			}
		}
	}
}

// recordedConn plays a request and swallows the answer.
type recordedConn struct {
	net.Conn
	request *bytes.Reader
	written int
	keep    *bytes.Buffer
	closed  chan struct{}
}

func (c *recordedConn) Read(data []byte) (int, error)    { return c.request.Read(data) }
func (c *recordedConn) SetDeadline(time.Time) error      { return nil }
func (c *recordedConn) SetReadDeadline(time.Time) error  { return nil }
func (c *recordedConn) SetWriteDeadline(time.Time) error { return nil }
func (c *recordedConn) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (c *recordedConn) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)} }

func (c *recordedConn) Write(data []byte) (int, error) {
	c.written += len(data)
	if c.keep != nil {
		return c.keep.Write(data)
	}
	return len(data), nil
}

func (c *recordedConn) Close() error {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return nil
}

func newConn(request []byte) *recordedConn {
	return &recordedConn{request: bytes.NewReader(request), closed: make(chan struct{})}
}

// measureSync measures a push/pull between two members that hold the same: the encoding of the own
// state, and the whole answer, which reads the other's state, sends the own and merges.
func measureSync(result *report) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, count := range []int{1_000, 10_000} {
		h := newHandler(true)
		h.learn(count)
		recorder := newConn(nil)
		recorder.keep = &bytes.Buffer{}
		if err := sendLocalState(h.list, recorder, false, ""); err != nil {
			panic(err)
		}
		name := fmt.Sprintf("sync_%d", count)
		result.add(name+"_bytes", float64(recorder.written))
		record(result, name+"_encode", func(b *testing.B, watch *stopwatch) {
			watch.start(b)
			for range b.N {
				if err := sendLocalState(h.list, newConn(nil), false, ""); err != nil {
					b.Fatal(err)
				}
			}
			watch.stop(b)
		})
		record(result, name+"_answer", func(b *testing.B, watch *stopwatch) {
			watch.start(b)
			for range b.N {
				conn := newConn(recorder.keep.Bytes())
				h.transport.streams <- conn
				<-conn.closed
				if conn.written == 0 {
					b.Fatal("no answer")
				}
			}
			watch.stop(b)
		})
		if err := h.list.Shutdown(); err != nil {
			result.note("shutdown: %v", err)
		}
	}
}
