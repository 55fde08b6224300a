"""The simulator's engine: virtual time, sockets, streams and faults around many nodes.

The engine owns what a kernel and a network own: it keeps every host's clock, carries datagrams and
streams between sockets, queues what a paused process does not read, and arms one timer per node.
It knows nothing of members, rumors or rings; `sup_core.simulator` builds those questions on top.
With a `Ledger` every event goes through it first; in light mode the ledger is all that sees them,
and no Python object is made per packet or per event.

One run is one thread and one heap. After every input to a node its outputs are drained, in this
order: datagrams, stream requests, events, next timer. A 64-bit hash runs over everything that is
delivered to a node, with its time and its target: equal hashes mean the same run.

A node is `sup_core.node.Node`, reached without a Python object per packet, or any object with the
same methods, which is how tests plant faults.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from sup_core.blobs cimport rumor_drop
from sup_core.card_pool cimport card_drop
from sup_core.event_queue cimport EventRecord
from sup_core.identity cimport ADDRESS_BYTES, Address, address_bytes, address_read
from sup_core.limits cimport STREAM_BYTES_MAX
from sup_core.node cimport Node
from sup_core.simulator_heap cimport NO_PACKET, PACKET_BYTES_MAX, Entry, Packet
from sup_core.simulator_hosts cimport (
    EVENT_CALL, EVENT_DELIVER, EVENT_REQUEST, EVENT_RESPONSE, EVENT_TIMER, EVENT_WAKE, Hosts, Slot,
    address_of, index_of, write_ip,
)
from sup_core.simulator_ledger cimport Ledger
from sup_core.simulator_network cimport Dice, Network
from sup_core.views cimport event_view

cdef enum:
    INBOX_BYTES_MAX = 212_992  # Linux's net.core.rmem_default
    SMALL_CHARGE = 768         # what the kernel charges a socket for a small packet
    LARGE_CHARGE = 2304        # and for a large one
    SMALL_BYTES_MAX = 128
    TRANSMITS_MAX = 4096       # datagrams from one input: more is a loop, not a protocol
    SPINS_MAX = 1000           # timers of one node in one microsecond, for the same reason
    SIGNAL_STEPS = 8192        # between two looks for Ctrl-C, ~10 ms
    STREAM_DEADLINE_US = 5_000_000


cdef class Engine(Hosts):
    """The hosts' shared time: delivers, fires and drains until a given moment."""

    def __init__(
        self, object seed, Network network, Ledger ledger=None, bint light=False
    ) -> None:
        if light and ledger is None:
            raise ValueError("light is True, but there is no ledger to take the events")
        self._ledger = ledger
        self.light = light
        self.calls = {}
        self.streams = {}
        self.dice = Dice(seed)
        self.network = network
        self.trace = <uint64_t>0xCBF29CE484222325

    def at(self, int64_t t_us, object call) -> None:
        """Call `call()` at the virtual time `t_us` (now, if that has passed)."""
        while self.next_call in self.calls:
            self.next_call += 1
        self.calls[self.next_call] = call
        self.heap.push(max(self.now, <int64_t>t_us), EVENT_CALL, 0, self.next_call, 0)
        self.next_call += 1

    def inject(self, Py_ssize_t target, bytes data, bytes source) -> None:
        """Deliver one datagram of at most 1400 bytes from `source` (18 bytes) to a host, now."""
        cdef uint32_t packet
        cdef Packet* p
        self._check(target)
        if len(data) > PACKET_BYTES_MAX:
            raise ValueError(f"datagram is {len(data)} bytes, limit is {PACKET_BYTES_MAX}")
        if len(source) != 18:
            raise ValueError(f"source is {len(source)} bytes, must be 18")
        packet = self.pool.take()
        p = self.pool.at(packet)
        address_read(&p.source, <const uint8_t*><const char*>source)
        p.size = <uint16_t>len(data)
        memcpy(p.data, <const char*>data, p.size)
        self.heap.push(self.now, EVENT_DELIVER, <uint32_t>target, packet, self.slots[target].port)

    def advance(self, int64_t end_us) -> None:
        """Let everything happen that happens until `end_us`, included; then it is `end_us`.

        Raises: whatever a node, a callback or an observer raises; the run can't be resumed then.
        """
        cdef Entry entry
        cdef int64_t end = end_us
        while self.heap.pop_before(end, &entry):
            self.now = entry.t
            self.steps += 1
            if self.steps % SIGNAL_STEPS == 0:
                PyErr_CheckSignals()
            if entry.kind == EVENT_DELIVER:
                if self.slots[entry.target].port != entry.generation:
                    self.slots[entry.target].unheard_packets += 1
                    self.pool.give(entry.payload)
                else:
                    self._arrive(entry.target, entry.payload)
            elif entry.kind == EVENT_TIMER:
                self._timer(entry.target, entry.generation)
            elif entry.kind == EVENT_WAKE:
                self._wake(entry.target)
            elif entry.kind == EVENT_CALL:
                self.calls.pop(entry.payload)()
            elif entry.kind == EVENT_REQUEST:
                self._serve(entry.target, entry.payload)
            else:
                self._answer(entry.target, entry.payload)
        if end > self.now:
            self.now = end

    def touch(self, Py_ssize_t index) -> None:
        """Drain the outputs of a node that the caller has given an input."""
        self._check(index)
        if self.slots[index].running:
            self._drain(<uint32_t>index)

    def observe(self, int64_t index, object event) -> None:
        """Take one event of the node on host `index`; the subclass decides what it means."""

    def spell(self, int64_t index, int64_t until) -> None:
        """The host `index` has fallen into a bad spell until then; the subclass may note it."""

    # inside

    cdef int _arrive(self, uint32_t index, uint32_t packet) except -1:
        cdef Slot* slot = &self.slots[index]
        cdef int64_t charge
        if not slot.running:
            slot.unheard_packets += 1
            self.pool.give(packet)
            return 0
        if (
            slot.paused_until <= self.now
            and slot.stalled_until <= self.now
            and slot.busy_until <= self.now
            and slot.inbox_head == NO_PACKET
        ):
            return self._receive(index, packet)
        charge = SMALL_CHARGE if self.pool.at(packet).size <= SMALL_BYTES_MAX else LARGE_CHARGE
        if slot.inbox_bytes + charge > INBOX_BYTES_MAX:
            slot.overflowed_packets += 1
            self.pool.give(packet)
            return 0
        slot.inbox_bytes += charge
        self.pool.at(packet).next = NO_PACKET
        if slot.inbox_head == NO_PACKET:
            slot.inbox_head = packet
        else:
            self.pool.at(slot.inbox_tail).next = packet
        slot.inbox_tail = packet
        return 0

    cdef int _receive(self, uint32_t index, uint32_t packet) except -1:
        cdef Slot* slot = &self.slots[index]
        cdef Packet* p = self.pool.at(packet)
        cdef object node = self.nodes[index]
        cdef int64_t clock = self._clock(slot)
        slot.received_packets += 1
        slot.received_bytes += p.size
        if self._ledger is not None and self._ledger.spreads:
            self._ledger.delivered(index, p.data, p.size)
        self.trace = mix(self.trace, <uint64_t>self.now)
        self.trace = mix(self.trace, (<uint64_t>index << 32) | p.size)
        self.trace = mix_bytes(self.trace, p.data, p.size)
        if type(node) is Node:
            (<Node>node).receive(p.data, p.size, &p.source, clock)
        else:
            node.handle_datagram(
                PyBytes_FromStringAndSize(<char*>p.data, p.size), address_bytes(&p.source), clock
            )
        self.pool.give(packet)
        slot = &self.slots[index]
        if slot.service_us:
            slot.busy_until = self.now + slot.service_us
            self.heap.push(slot.busy_until, EVENT_WAKE, index, 0, 0)
        return self._drain(index)

    cdef int _wake(self, uint32_t index) except -1:
        """Hand in what the socket holds: all before any timer, or one by one if slow."""
        cdef Slot* slot = &self.slots[index]
        cdef uint32_t packet, life = slot.life
        while (
            slot.running and slot.life == life
            and slot.inbox_head != NO_PACKET
            and slot.paused_until <= self.now
            and slot.stalled_until <= self.now
            and slot.busy_until <= self.now
        ):
            packet = slot.inbox_head
            slot.inbox_head = self.pool.at(packet).next
            slot.inbox_bytes -= (
                SMALL_CHARGE if self.pool.at(packet).size <= SMALL_BYTES_MAX else LARGE_CHARGE
            )
            self._receive(index, packet)
            slot = &self.slots[index]
        if slot.running:
            self._arm(index)
        return 0

    cdef int _timer(self, uint32_t index, uint32_t generation) except -1:
        cdef Slot* slot = &self.slots[index]
        cdef object node
        if not slot.running or generation != slot.timer_generation:
            return 0
        if slot.paused_until > self.now:
            slot.armed_us = INT64_MAX  # the end of the pause arms it again, after the inbox
            return 0
        if slot.busy_until > self.now:
            self.heap.push(slot.busy_until, EVENT_TIMER, index, 0, generation)
            slot.armed_us = slot.busy_until
            return 0
        slot.armed_us = INT64_MAX
        slot.spins = slot.spins + 1 if slot.last_timer_us == self.now else 0
        slot.last_timer_us = self.now
        if slot.spins > SPINS_MAX:
            raise RuntimeError(
                f"host {index} wants its timer {slot.spins} times in one microsecond"
            )
        node = self.nodes[index]
        self.trace = mix(self.trace, (<uint64_t>self.now << 20) ^ index)
        if type(node) is Node:
            (<Node>node).timeout(self._clock(slot))
        else:
            node.handle_timeout(self._clock(slot))
        return self._drain(index)

    cdef int _drain(self, uint32_t index) except -1:
        cdef object node = self.nodes[index]
        cdef object out
        self._drain_datagrams(index, node)
        while type(node) is not Node or (<Node>node).exchanges.queue:
            out = node.poll_request()
            if out is None:
                break
            self._open_stream(index, out)
        if type(node) is Node:
            self._drain_events(index, <Node>node)
        else:
            while True:
                out = node.poll_event()
                if out is None:
                    break
                if self._ledger is not None:
                    self._ledger.tell(index, out, self.now)
                if not self.light:
                    self.observe(index, out)
        return self._arm(index)

    cdef int _drain_events(self, uint32_t index, Node node) except -1:
        cdef EventRecord record
        cdef object out
        while node.events.count:
            node.events.pop(&record)
            try:
                if self._ledger is not None:
                    self._ledger.see(index, &record, self.now)
                out = None if self.light else event_view(&record)
            finally:
                card_drop(record.card)
                rumor_drop(record.rumor)
                rumor_drop(record.previous)
            if out is not None:
                self.observe(index, out)
        if node.events.dropped and not node.events.told:
            out = node.poll_event()
            if self._ledger is not None:
                self._ledger.tell(index, out, self.now)
            if not self.light:
                self.observe(index, out)
        return 0

    cdef int _drain_datagrams(self, uint32_t index, object node) except -1:
        cdef uint8_t buffer[PACKET_BYTES_MAX]
        cdef Address target
        cdef bytes address, data
        cdef object out
        cdef Py_ssize_t size
        cdef int count = 0
        while True:
            if type(node) is Node:
                size = (<Node>node).transmit(buffer, &target)
                if size == 0:
                    break
                self._send(index, buffer, size, &target)
            else:
                out = node.poll_transmit()
                if out is None:
                    break
                address, data = out
                if len(address) != ADDRESS_BYTES:
                    raise RuntimeError(f"host {index} sends to an address of {len(address)} bytes")
                address_read(&target, <const uint8_t*><const char*>address)
                self._send(index, <const uint8_t*><const char*>data, len(data), &target)
            count += 1
            if count > TRANSMITS_MAX:
                raise RuntimeError(f"host {index} sends over {TRANSMITS_MAX} datagrams at once")
        return 0

    cdef int _arm(self, uint32_t index) except -1:
        cdef Slot* slot = &self.slots[index]
        cdef object node = self.nodes[index]
        cdef int64_t wanted, t, base
        if type(node) is Node:
            wanted = (<Node>node).next_due()
        else:
            wanted = node.next_timeout()
        if wanted >= INT64_MAX // 2:
            return 0
        base = wanted - slot.offset_us
        t = base - base * slot.drift_ppm // (1_000_000 + slot.drift_ppm)
        # Integer division may leave the clock a microsecond short of what was asked for.
        while t + t * slot.drift_ppm // 1_000_000 < base:
            t += 1
        if t < self.now:
            t = self.now
        if slot.grain_us:
            t = (t // slot.grain_us + 1) * slot.grain_us
        if t < slot.armed_us:
            slot.armed_us = t
            slot.timer_generation += 1
            self.heap.push(t, EVENT_TIMER, index, 0, slot.timer_generation)
        return 0

    cdef int _send(self, uint32_t source, const uint8_t* data, Py_ssize_t size,
                   const Address* address) except -1:
        cdef Slot* sender = &self.slots[source]
        cdef Slot* receiver
        cdef int64_t target
        if size < 1 or size > PACKET_BYTES_MAX:
            raise RuntimeError(
                f"host {source} sends a datagram of {size} bytes, bounds are 1..{PACKET_BYTES_MAX}"
            )
        sender.sent_packets += 1
        sender.sent_bytes += size
        target = index_of(address.ip)
        if target < 0 or target >= self.size:
            self.unroutable_packets += 1
            return 0
        receiver = &self.slots[target]
        if self.dice.chance(self.network._burst) and receiver.burst_until < self.now:
            receiver.burst_until = (
                self.now + self.network._burst_us // 2
                + self.dice.below(<uint32_t>self.network._burst_us)
            )
            self.spell(target, receiver.burst_until)
        if size > self.network._mtu_bytes:
            self.oversize_packets += 1
        if (
            self._cut(source, <uint32_t>target)
            or size > self.network._mtu_bytes
            or self.dice.chance(self.network._loss)
            or (
                self.link_losses
                and self.dice.chance(self.link_losses.get((<int64_t>source << 32) | target, 0))
            )
            or self.dice.chance(sender.loss_out)
            or self.dice.chance(receiver.loss_in)
            or (receiver.burst_until > self.now and self.dice.chance(self.network._burst_loss))
        ):
            receiver.lost_packets += 1
            return 0
        self._launch(source, <uint32_t>target, data, size, address.port)
        if self.dice.chance(self.network._duplicate):
            self.duplicated_packets += 1
            self._launch(source, <uint32_t>target, data, size, address.port)
        return 0

    cdef int _launch(self, uint32_t source, uint32_t target, const uint8_t* data,
                     Py_ssize_t size, uint16_t port) except -1:
        cdef uint32_t packet
        cdef Packet* p
        cdef int changes
        cdef int64_t t = self.now + self.network.between(
            self.dice, self.slots[source].zone, self.slots[target].zone
        )
        cdef bint corrupt = self.dice.chance(self.network._corrupt)
        cdef bint cut = self.dice.chance(self.network._truncate)
        if corrupt or cut:
            self.damaged_packets += 1
        if (corrupt or cut) and self.network.checksum:
            self.slots[target].lost_packets += 1
            return 0
        packet = self.pool.take()
        p = self.pool.at(packet)
        write_ip(p.source.ip, source)
        p.source.port = self.slots[source].port
        p.size = <uint16_t>size
        memcpy(p.data, data, size)
        if cut and size > 1:
            size = 1 + self.dice.below(<uint32_t>size - 1)
            p.size = <uint16_t>size
        if corrupt:
            if size > 1 and self.dice.below(4) == 0:
                p.size = <uint16_t>(1 + self.dice.below(<uint32_t>size - 1))
            else:
                changes = 1 + self.dice.below(3)
                while changes > 0:
                    changes -= 1
                    p.data[self.dice.below(<uint32_t>size)] ^= <uint8_t>(1 + self.dice.below(255))
        self.heap.push(t, EVENT_DELIVER, target, packet, port)
        return 0

    # streams: rare, so plain Python values

    cdef int _open_stream(self, uint32_t client, tuple request) except -1:
        cdef bytes address = request[1], data = request[2]
        cdef int64_t target = index_of(<const uint8_t*><const char*>address)
        cdef int64_t delay
        cdef uint32_t stream
        cdef Slot* server
        cdef uint16_t port = <uint16_t>((<uint8_t>address[16] << 8) | <uint8_t>address[17])
        if len(data) > STREAM_BYTES_MAX:
            raise RuntimeError(
                f"host {client} sends a request of {len(data)} bytes, limit is {STREAM_BYTES_MAX}"
            )
        while self.next_stream in self.streams:
            self.next_stream += 1
        stream = self.next_stream
        self.next_stream += 1
        self.stream_count += 1
        self.stream_bytes += len(data)
        # [request id, request then response, deadline, client's life, server]
        self.streams[stream] = [
            request[0], data, self.now + STREAM_DEADLINE_US, self.slots[client].life, client
        ]
        delay = self.network.stream_delay(self.dice, len(data))
        delay = delay + 2 * self.network.latency(self.dice) if delay >= 0 else INT64_MAX
        if target < 0 or target >= self.size:
            delay = INT64_MAX
        else:
            server = &self.slots[target]
            if (
                self._cut(client, <uint32_t>target) or self._cut(<uint32_t>target, client)
                or self.dice.chance(self.slots[client].loss_out)
                or self.dice.chance(self.slots[client].loss_in)
                or self.dice.chance(server.loss_in) or self.dice.chance(server.loss_out)
                or (not server.running and not server.host_up)
            ):
                delay = INT64_MAX
            elif not server.running or server.port != port:
                self.streams[stream][1] = None
                self.heap.push(self.now + delay, EVENT_RESPONSE, client, stream, 0)
                return 0
        if delay >= STREAM_DEADLINE_US:
            self.streams[stream][1] = None
            self.heap.push(self.now + STREAM_DEADLINE_US, EVENT_RESPONSE, client, stream, 0)
        else:
            self.heap.push(self.now + delay, EVENT_REQUEST, <uint32_t>target, stream, 0)
        return 0

    cdef int _serve(self, uint32_t server, uint32_t stream) except -1:
        cdef list exchange = self.streams[stream]
        cdef Slot* slot = &self.slots[server]
        cdef uint32_t client = exchange[4]
        cdef int64_t deadline = exchange[2], ready, delay
        cdef object answer
        if not slot.running:
            exchange[1] = None
            delay = self.network.latency(self.dice)
            self.heap.push(self.now + delay, EVENT_RESPONSE, client, stream, 0)
            return 0
        ready = max(slot.paused_until, slot.stalled_until, slot.busy_until)
        if ready > self.now:
            # The kernel has accepted the connection; the process has not.
            if ready < deadline:
                self.heap.push(ready, EVENT_REQUEST, server, stream, 0)
            else:
                exchange[1] = None
                self.heap.push(deadline, EVENT_RESPONSE, client, stream, 0)
            return 0
        self.trace = mix(self.trace, (<uint64_t>self.now << 20) ^ server)
        self.trace = mix_object(self.trace, exchange[1])
        answer = self.nodes[server].handle_request(
            exchange[1],
            address_of(client, <uint16_t>(32768 + stream % 28000)),  # a client's port is ephemeral
            self._clock(slot),
        )
        if len(answer) > STREAM_BYTES_MAX:
            raise RuntimeError(
                f"host {server} answers with {len(answer)} bytes, limit is {STREAM_BYTES_MAX}"
            )
        self.stream_bytes += len(answer)
        delay = self.network.stream_delay(self.dice, len(answer))
        if delay < 0 or self._cut(server, client) or self.now + delay > deadline:
            delay = deadline - self.now
            answer = b""
        exchange[1] = answer if answer else None
        self.heap.push(self.now + max(<int64_t>1, delay), EVENT_RESPONSE, client, stream, 0)
        return self._drain(server)

    cdef int _answer(self, uint32_t client, uint32_t stream) except -1:
        cdef list exchange = self.streams[stream]
        cdef Slot* slot = &self.slots[client]
        cdef int64_t ready = max(slot.paused_until, slot.stalled_until, slot.busy_until)
        if slot.running and slot.life == <uint32_t>exchange[3]:
            if ready > self.now:
                self.heap.push(ready, EVENT_RESPONSE, client, stream, 0)
                return 0
            self.stream_failures += exchange[1] is None
            self.trace = mix(self.trace, (<uint64_t>self.now << 20) ^ client)
            self.trace = mix_object(self.trace, exchange[1] or b"")
            del self.streams[stream]
            self.nodes[client].handle_response(exchange[0], exchange[1], self._clock(slot))
            return self._drain(client)
        del self.streams[stream]
        return 0


cdef inline uint64_t mix(uint64_t h, uint64_t value) noexcept:
    h = (h ^ value) * <uint64_t>0x9E3779B97F4A7C15
    return h ^ (h >> 32)


cdef uint64_t mix_bytes(uint64_t h, const uint8_t* data, Py_ssize_t size) noexcept:
    """Fold bytes into the trace, eight at a time; the size is folded in by the caller."""
    cdef uint64_t word
    while size >= 8:
        memcpy(&word, data, 8)
        h = mix(h, word)
        data += 8
        size -= 8
    if size > 0:
        word = 0
        memcpy(&word, data, size)
        h = mix(h, word)
    return h


cdef uint64_t mix_object(uint64_t h, bytes data):
    return mix_bytes(mix(h, <uint64_t>len(data)), <const uint8_t*><const char*>data, len(data))
