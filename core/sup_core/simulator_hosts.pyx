"""The simulator's hosts: who runs where, on which clock, behind which faults.

A host has an address (``10.x.y.z`` mapped into IPv6), a clock with an offset and a drift, a socket
with a bounded buffer, and at most one process, which is a node. Faults are state of the host and
are looked at when a packet is sent or arrives; `sup_core.simulator_engine` does that. Nothing here
moves time.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint16_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from sup_core.identity cimport Address, address_bytes
from sup_core.simulator_heap cimport NO_PACKET, EventHeap, PacketPool

HOSTS_MAX = 1 << 20  # more than anyone has memory for
PORT = 9638


cdef class Hosts:
    """Hosts and their faults. Indices count hosts in the order in which they were placed."""

    def __cinit__(self, *args: object, **kwargs: object) -> None:
        self.heap = EventHeap()
        self.pool = PacketPool()
        self.nodes = []
        self.cuts = set()
        self.link_losses = {}

    def __dealloc__(self) -> None:
        free(self.slots)

    @property
    def now_us(self) -> int:
        """Virtual time in microseconds since the start."""
        return self.now

    @property
    def in_flight(self) -> int:
        """Packets that are on their way or wait in a socket."""
        return len(self.pool)

    def place(self, object node, *, int64_t offset_us=0, int64_t drift_ppm=0) -> int:
        """Add a host that runs `node` (None: nothing runs yet); return its index.

        The host's clock reads ``offset_us + t + t * drift_ppm / 10**6``.
        """
        cdef Slot* grown
        cdef Slot* slot
        cdef Py_ssize_t capacity
        if self.size == HOSTS_MAX:
            raise ValueError(f"there are {self.size} hosts, limit is {HOSTS_MAX}")
        if not -100_000 <= drift_ppm <= 100_000:
            raise ValueError(f"drift_ppm is {drift_ppm}, bounds are -100000..100000")
        if self.size == self.capacity:
            capacity = max(64, 2 * self.capacity)
            grown = <Slot*>realloc(self.slots, capacity * sizeof(Slot))
            if grown == NULL:
                raise MemoryError
            self.slots = grown
            self.capacity = capacity
        slot = &self.slots[self.size]
        memset(slot, 0, sizeof(Slot))
        slot.host_up = True
        slot.port = PORT
        slot.offset_us = offset_us
        slot.drift_ppm = drift_ppm
        slot.inbox_head = NO_PACKET
        slot.inbox_tail = NO_PACKET
        slot.armed_us = INT64_MAX
        self.nodes.append(None)
        self.size += 1
        if node is not None:
            self.boot(self.size - 1, node)
        return self.size - 1

    def boot(self, Py_ssize_t index, object node) -> None:
        """Run `node` as a new process on the host `index`; what ran there is gone."""
        cdef Slot* slot
        self._check(index)
        self.halt(index)
        slot = &self.slots[index]
        slot.running = True
        slot.host_up = True
        slot.life += 1
        self.nodes[index] = node
        self._arm(<uint32_t>index)

    def halt(self, Py_ssize_t index, *, bint host_up=True) -> None:
        """Kill the process: its socket buffer is gone; with its host, also the kernel's refusals.

        A stream to a dead process fails after one round trip, to a dead host at its deadline.
        """
        cdef Slot* slot
        cdef uint32_t packet
        self._check(index)
        slot = &self.slots[index]
        while slot.inbox_head != NO_PACKET:
            packet = slot.inbox_head
            slot.inbox_head = self.pool.at(packet).next
            self.pool.give(packet)
        slot.inbox_tail = NO_PACKET
        slot.inbox_bytes = 0
        slot.running = False
        slot.host_up = host_up
        slot.armed_us = INT64_MAX
        slot.timer_generation += 1
        slot.paused_until = slot.stalled_until = slot.busy_until = 0
        self.nodes[index] = None

    def node(self, Py_ssize_t index) -> object:
        """Return the node on host `index`, None if no process runs there."""
        self._check(index)
        return self.nodes[index]

    def clock(self, Py_ssize_t index) -> int:
        """Return what the clock of host `index` reads, in microseconds."""
        self._check(index)
        return self._clock(&self.slots[index])

    def address(self, Py_ssize_t index) -> bytes:
        """Return the 18-byte address of host `index`: ``10.x.y.z`` mapped into IPv6, and a port."""
        self._check(index)
        return address_of(<uint32_t>index, self.slots[index].port)

    def rebind(self, Py_ssize_t index) -> bytes:
        """Move the host's socket to the next port: the old address is dead. Return the new one."""
        self._check(index)
        self.slots[index].port = PORT + (self.slots[index].port - PORT + 1) % 10_000
        return self.address(index)

    def traffic(self, Py_ssize_t index) -> dict:
        """Return the counters of host `index`'s socket since it was placed."""
        cdef Slot* slot
        self._check(index)
        slot = &self.slots[index]
        return {
            "sent_packets": slot.sent_packets,
            "sent_bytes": slot.sent_bytes,
            "received_packets": slot.received_packets,
            "received_bytes": slot.received_bytes,
            "lost_packets": slot.lost_packets,
            "overflowed_packets": slot.overflowed_packets,
            "unheard_packets": slot.unheard_packets,
        }

    # faults

    def pause(self, Py_ssize_t index, int64_t duration_us) -> None:
        """Stop the process for `duration_us`; its socket fills up, then everything is handed in."""
        self._check(index)
        self.slots[index].paused_until = max(
            self.slots[index].paused_until, self.now + <int64_t>duration_us
        )
        self.heap.push(self.slots[index].paused_until, EVENT_WAKE, <uint32_t>index, 0, 0)

    def stall(self, Py_ssize_t index, int64_t duration_us) -> None:
        """Stop only the process's reading for `duration_us`: its timers run and it sends."""
        self._check(index)
        self.slots[index].stalled_until = max(
            self.slots[index].stalled_until, self.now + <int64_t>duration_us
        )
        self.heap.push(self.slots[index].stalled_until, EVENT_WAKE, <uint32_t>index, 0, 0)

    def slow(self, Py_ssize_t index, int64_t service_us) -> None:
        """Let every packet cost the process `service_us` (0: none), one after the other."""
        self._check(index)
        self.slots[index].service_us = max(0, service_us)

    def coarsen(self, Py_ssize_t index, int64_t grain_us) -> None:
        """Let the process's timers fire only at multiples of `grain_us` (0: exactly when due).

        The multiples count from the start of time, so hosts of one grain wake up together; what is
        due at such a moment fires at the next, as with the shared timer of a hub of many sockets.
        """
        self._check(index)
        if not 0 <= grain_us <= 10_000_000:
            raise ValueError(f"grain is {grain_us} us, bounds are 0..10^7")
        self.slots[index].grain_us = grain_us
        self.slots[index].armed_us = INT64_MAX
        if self.slots[index].running:
            self._arm(<uint32_t>index)

    def set_group(self, Py_ssize_t index, int64_t group) -> None:
        """Put the host into a partition: packets pass only between hosts of one group."""
        self._check(index)
        self.slots[index].group = group

    def set_loss(self, Py_ssize_t index, *, double incoming=0.0, double outgoing=0.0) -> None:
        """Lose a share (0..1) of what the host receives or sends, beside the network's own loss."""
        self._check(index)
        if not (0.0 <= incoming <= 1.0 and 0.0 <= outgoing <= 1.0):
            raise ValueError(f"loss is {incoming}, {outgoing}, bounds are 0..1")
        self.slots[index].loss_in = <uint32_t>(incoming * 4294967295.0)
        self.slots[index].loss_out = <uint32_t>(outgoing * 4294967295.0)

    def set_link(self, Py_ssize_t source, Py_ssize_t target, bint up) -> None:
        """Cut or mend the one-way link from `source` to `target`."""
        self._check(source)
        self._check(target)
        if up:
            self.cuts.discard((source << 32) | target)
        else:
            self.cuts.add((source << 32) | target)

    def set_link_loss(self, Py_ssize_t source, Py_ssize_t target, double share) -> None:
        """Lose a share (0..1) of what goes from `source` to `target`; 0 ends it."""
        self._check(source)
        self._check(target)
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"loss is {share}, bounds are 0..1")
        if share:
            self.link_losses[(source << 32) | target] = <uint32_t>(share * 4294967295.0)
        else:
            self.link_losses.pop((source << 32) | target, None)

    def set_zone(self, Py_ssize_t index, int64_t zone) -> None:
        """Put the host into a zone (0..65535), for latencies between zones."""
        self._check(index)
        if not 0 <= zone <= 0xFFFF:
            raise ValueError(f"zone is {zone}, bounds are 0..65535")
        self.slots[index].zone = <uint32_t>zone

    def jump(self, Py_ssize_t index, int64_t duration_us) -> None:
        """Let the host's clock jump ahead by 0..10^15 µs, as one that counts in suspend does."""
        self._check(index)
        if not 0 <= duration_us <= 10**15:
            raise ValueError(f"jump is {duration_us} us, bounds are 0..10^15")
        self.slots[index].offset_us += duration_us
        self.slots[index].armed_us = INT64_MAX
        if self.slots[index].running:
            self._arm(<uint32_t>index)

    def is_cut(self, Py_ssize_t source, Py_ssize_t target) -> bool:
        """Return whether the one-way link is cut, or a partition stands between the two."""
        self._check(source)
        self._check(target)
        return self._cut(<uint32_t>source, <uint32_t>target)

    def link_loss(self, Py_ssize_t source, Py_ssize_t target) -> float:
        """Return the share that the one-way link itself loses; 1 if it is cut."""
        if self.is_cut(source, target):
            return 1.0
        return self.link_losses.get((source << 32) | target, 0) / 4294967295.0

    def paused(self, Py_ssize_t index) -> bool:
        """Return whether the process stands still at this moment."""
        self._check(index)
        return self.slots[index].paused_until > self.now

    cdef int _check(self, Py_ssize_t index) except -1:
        if not 0 <= index < self.size:
            raise IndexError(f"host is {index}, there are {self.size}")
        return 0

    cdef int64_t _clock(self, Slot* slot) noexcept:
        return slot.offset_us + self.now + self.now * slot.drift_ppm // 1_000_000

    cdef bint _cut(self, uint32_t source, uint32_t target) noexcept:
        if self.slots[source].group != self.slots[target].group:
            return True
        return bool(self.cuts) and ((<int64_t>source << 32) | target) in self.cuts

    cdef int _arm(self, uint32_t index) except -1:
        """Arm the node's timer; the engine knows how."""
        return 0


cdef bytes address_of(uint32_t index, uint16_t port):
    cdef Address address
    write_ip(address.ip, index)
    address.port = port
    return address_bytes(&address)
