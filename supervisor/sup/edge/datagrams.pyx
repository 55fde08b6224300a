# cython: auto_pickle=False, autotestdict=False
"""The UDP hub: all datagram sockets of a process behind one epoll descriptor and one timer.

The descriptor is registered with the loop once, and an only socket beside it; the timer is one of
the kernel's behind the descriptor, so that arming it makes no Python object. Bytes go from the
socket to the node and back without a Python object per packet. Reading is hybrid: the first four
packets of a wake-up one by one with the answer sent at once (latency), the rest in batches with
``recvmmsg``/``sendmmsg`` (throughput), capped so that one socket can't starve the loop.
Sockets come before timers, and a port whose socket was not read empty is read
further before its timer fires: after a stall an answer that is already here must be seen before
anybody is accused.

Foreign packets (wrong protocol or ring in the first bytes) are cheap to refuse. Past a rate the
kernel refuses them: a classic socket filter on those bytes is attached for ten seconds, so that
garbage takes no room in the receive buffer that acks need. The hub decides nothing about members.
"""

cimport cython
from cpython.object cimport PyObject
from libc.errno cimport (
    EAGAIN, EBADF, ECONNREFUSED, EINTR, ENOBUFS, ENOMEM, ENOTSOCK, errno,
)
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

from sup.edge.datagram_ports cimport Port
from sup.edge.datagram_slot cimport (
    BATCH, BATCHES_MAX, CONTROL_WORDS, EPOLL_ROUNDS_MAX, EVENTS, FAILED_TIMEOUT_US, FAULTS_MAX,
    FLUSH_ROUNDS_MAX, IMMEDIATE, IN_BYTES, MAGIC_BYTES_MAX, RECEIVE_ERRORS_MAX,
    NO_SLOT, SHARED_SLOTS, SHARED_TICK_US, SLEEP_US_MAX, SLOTS_MAX, STALL_PACKETS_MAX, TICK_US,
    Scratch, Slot, clock_now, from_socket, is_foreign, lift_filter, note_drops, show_foreign,
    slot_handle, to_socket,
)
from sup.edge.linux_net cimport (
    AF_INET6, CLOCK_MONOTONIC, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLIN, MSG_DONTWAIT,
    MSG_NOSIGNAL, MSG_TRUNC, SO_RXQ_OVFL, SOL_SOCKET, TFD_CLOEXEC, TFD_NONBLOCK,
    TFD_TIMER_ABSTIME, epoll_create1, epoll_ctl, epoll_event, epoll_wait, itimerspec, mmsghdr,
    recvmmsg, recvmsg, sendmmsg, sendto, set_errno, setsockopt, sockaddr_in6, timerfd_create,
    timerfd_settime,
)
from sup_core.identity cimport Address

import os


cdef int64_t NEVER = INT64_MAX
cdef uint64_t TIMER_EVENT = 0xFFFFFFFFFFFFFFFF  # no slot has this index


@cython.final
cdef class Hub:
    """All datagram sockets of one process. Use it from the thread of its loop only."""

    cdef object _loop
    cdef int64_t _armed
    cdef int _epoll_fd
    cdef int _timer_fd
    cdef Slot** _slots
    cdef int64_t* _deadlines        # by slot, side by side: they are looked through at each wake-up
    cdef uint32_t _slot_count
    cdef uint32_t _used
    cdef uint32_t _direct           # the slot whose socket the loop watches itself
    cdef list _ports
    cdef list _sockets
    cdef list _callbacks
    cdef uint32_t _touched          # the first of a list through the slots
    cdef Scratch* _scratch
    cdef bint _busy
    cdef int _send_faults[FAULTS_MAX]
    cdef int _send_fault_count
    cdef int _receive_faults[FAULTS_MAX]
    cdef int _receive_fault_count

    def __cinit__(self):
        self._epoll_fd = -1
        self._timer_fd = -1
        self._armed = NEVER
        self._touched = NO_SLOT
        self._direct = NO_SLOT
        self._scratch = <Scratch*> calloc(1, sizeof(Scratch))
        if self._scratch == NULL:
            raise MemoryError
        self._prepare_scratch()

    def __init__(self, loop):
        cdef epoll_event event
        self._loop = loop
        self._ports = []
        self._sockets = []
        self._callbacks = []
        self._epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        if self._epoll_fd < 0:
            raise OSError(errno, os.strerror(errno))
        self._timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        event.events = EPOLLIN
        event.data.u64 = TIMER_EVENT
        if (
            self._timer_fd < 0
            or epoll_ctl(self._epoll_fd, EPOLL_CTL_ADD, self._timer_fd, &event) < 0
        ):
            raise OSError(errno, os.strerror(errno))
        loop.add_reader(self._epoll_fd, self._on_ready)

    def __dealloc__(self):
        cdef uint32_t index
        for index in range(self._slot_count):
            free(self._slots[index])
        free(self._slots)
        free(self._deadlines)
        free(self._scratch)

    # --- members -----------------------------------------------------------------------------

    def add(self, Port port not None, sock, on_activity=None, magic=b"", int magic_offset=0):
        """Put ``port`` on a bound, non-blocking UDP socket, now the hub's; return a handle.

        ``on_activity()`` is called once per wake-up that touched the port, never per packet.
        Packets that do not have ``magic`` (at most 16 bytes) at ``magic_offset`` are foreign.
        """
        cdef Slot* slot
        cdef int on = 1
        if len(magic) > MAGIC_BYTES_MAX or not 0 <= magic_offset <= 64:
            raise ValueError(f"magic has {len(magic)} bytes, limit {MAGIC_BYTES_MAX}")
        if self._epoll_fd < 0:
            raise RuntimeError("the hub is closed")
        slot = self._free_slot()
        slot.fd = sock.fileno()
        slot.is_v6 = sock.family == AF_INET6
        slot.magic_size = len(magic)
        slot.magic_offset = magic_offset
        if slot.magic_size:
            memcpy(slot.magic, <const uint8_t*> <const char*> magic, slot.magic_size)
        setsockopt(slot.fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on))
        try:
            self._watch(slot)
        except BaseException:
            slot.fd = -1
            raise
        self._used += 1
        slot.port = <PyObject*> port
        self._ports[slot.index] = port
        self._sockets[slot.index] = sock
        self._callbacks[slot.index] = on_activity
        self.pump(slot_handle(slot))
        return slot_handle(slot)

    def remove(self, uint64_t handle):
        """Take a port off and close its socket; unknown and stale handles are ignored."""
        cdef Slot* slot = self._find(handle)
        if slot == NULL:
            return
        if slot.index == self._direct:
            self._loop.remove_reader(slot.fd)
            self._direct = NO_SLOT
        else:
            epoll_ctl(self._epoll_fd, EPOLL_CTL_DEL, slot.fd, NULL)
        slot.fd = -1
        slot.generation += 1
        slot.port = NULL
        self._deadlines[slot.index] = NEVER
        self._used -= 1
        self._sockets[slot.index].close()
        self._ports[slot.index] = self._sockets[slot.index] = self._callbacks[slot.index] = None

    def pump(self, uint64_t handle):
        """Send what the port has to say and arm the timer; call it after an input of your own."""
        cdef Slot* slot = self._find(handle)
        if slot == NULL:
            return
        self._touch(slot)
        if not self._busy:  # else the callback that we are in settles it
            self._finish()

    def counters(self, uint64_t handle):
        """Counts since the port was added, by name."""
        cdef Slot* slot = self._find(handle)
        if slot == NULL:
            return {}
        return {
            "received": slot.received,
            "received_bytes": slot.received_bytes,
            "foreign": slot.foreign,
            "truncated": slot.truncated,
            "damaged": slot.damaged,
            "kernel_drops": slot.kernel_drops,
            "receive_errors": slot.receive_errors,
            "sent": slot.sent,
            "sent_bytes": slot.sent_bytes,
            "send_dropped": slot.send_dropped,
            "send_refused": slot.send_refused,
            "filter_spells": slot.filter_spells,
        }

    def close(self):
        """Take everything off, close the sockets, leave the loop. Idempotent."""
        cdef uint32_t index
        if self._epoll_fd < 0:
            return
        for index in range(self._slot_count):
            if self._slots[index].fd >= 0:
                self.remove(slot_handle(self._slots[index]))
        self._loop.remove_reader(self._epoll_fd)
        os.close(self._timer_fd)
        os.close(self._epoll_fd)
        self._epoll_fd = self._timer_fd = -1

    def inject_errors(self, sends=(), receives=()):
        """Make the next system calls fail with these numbers: loopback never does by itself."""
        for number in sends:
            if self._send_fault_count < FAULTS_MAX:
                self._send_faults[self._send_fault_count] = number
                self._send_fault_count += 1
        for number in receives:
            if self._receive_fault_count < FAULTS_MAX:
                self._receive_faults[self._receive_fault_count] = number
                self._receive_fault_count += 1

    cdef _watch(self, Slot* slot):
        """Wake up for this socket.

        The loop itself watches an only one, as a supervisor has: an epoll descriptor within the
        loop's costs a packet two wake-ups in the kernel. Sockets that share the hub are behind
        ours.
        """
        cdef uint32_t first = self._direct
        if self._used == 0:
            self._loop.add_reader(slot.fd, self._on_ready)
            self._direct = slot.index
            return
        self._put(slot)
        if first != NO_SLOT:
            self._put(self._slots[first])
            self._loop.remove_reader(self._slots[first].fd)
            self._direct = NO_SLOT

    cdef _put(self, Slot* slot):
        cdef epoll_event event
        event.events = EPOLLIN
        event.data.u64 = slot_handle(slot)
        if epoll_ctl(self._epoll_fd, EPOLL_CTL_ADD, slot.fd, &event) < 0:
            raise OSError(errno, os.strerror(errno))

    # --- the callback of the loop ------------------------------------------------------------

    def _on_ready(self):
        cdef epoll_event events[EVENTS]
        cdef Slot* slot
        cdef int count, number, heard, _round
        cdef bint is_fired = False
        self._busy = True
        try:
            if self._direct != NO_SLOT:
                # A supervisor has one socket: no need to ask which of them is ready.
                slot = self._slots[self._direct]
                slot.is_drained = self._read(slot, IMMEDIATE + BATCHES_MAX * BATCH)
                self._touch(slot)
                if self._armed <= clock_now():
                    self._fire_due(True)
                is_fired = True
            for _round in range(0 if is_fired else EPOLL_ROUNDS_MAX):
                count = epoll_wait(self._epoll_fd, events, EVENTS, 0)
                heard = 0
                for number in range(count):
                    slot = self._find(events[number].data.u64)
                    if slot != NULL:  # NULL: removed in this batch, or the timer
                        heard += 1
                        slot.is_drained = self._read(slot, IMMEDIATE + BATCHES_MAX * BATCH)
                        self._touch(slot)
                if count < EVENTS and not is_fired and self._armed <= clock_now():
                    self._fire_due(True)
                    is_fired = True
                elif count < EVENTS and (heard == 0 or self._used < SHARED_SLOTS):
                    break
                # Members that share the hub write to each other: what one of them just sent waits
                # in the socket of another, and a round here is cheaper than one of the loop.
            if not is_fired and self._armed <= clock_now():
                self._fire_due(False)
        finally:
            self._busy = False
        self._finish()

    cdef void _fire_due(self, bint is_all) noexcept:
        """Fire what is due, after its socket was read empty.

        ``is_all``: who was not touched in this wake-up has nothing to read.
        """
        cdef Slot* slot
        cdef uint32_t index
        cdef int64_t now = clock_now()
        self._armed = NEVER
        for index in range(self._slot_count):
            if self._deadlines[index] <= now:
                slot = self._slots[index]
                if not (slot.is_drained if slot.is_touched else is_all):
                    self._read(slot, STALL_PACKETS_MAX)
                self._touch(slot)
                self._fire(slot)

    cdef void _fire(self, Slot* slot) noexcept:
        cdef Port port = <Port> slot.port
        cdef uint64_t handle = slot_handle(slot)
        cdef int64_t now = clock_now()
        if slot.filtered and now >= slot.filter_until:
            lift_filter(slot)
        try:
            port.timeout(now)
        except Exception as error:
            self._report("datagram timer failed", error)
        if self._find(handle) == slot:  # else the port removed itself
            self._flush(slot, port)

    cdef _finish(self):
        """Settle every touched port: callback, what it led to, next deadline; then arm."""
        cdef Slot* slot
        cdef uint64_t handle
        cdef Port port
        self._busy = True
        try:
            while self._touched != NO_SLOT:
                slot = self._slots[self._touched]
                self._touched = slot.following
                if slot.fd >= 0:
                    port = <Port> slot.port
                    self._flush(slot, port)
                    if port.has_news() and self._callbacks[slot.index] is not None:
                        handle = slot_handle(slot)
                        try:
                            self._callbacks[slot.index]()
                        except Exception as error:
                            self._report("datagram callback failed", error)
                        if self._find(handle) == slot:  # else the callback removed it
                            self._flush(slot, port)
                slot.is_touched = False
                if slot.fd >= 0:
                    self._deadlines[slot.index] = self._deadline_of(port)
        finally:
            self._busy = False
        self._arm()

    cdef int64_t _deadline_of(self, Port port) noexcept:
        try:
            return port.next_due()
        except Exception as error:
            self._report("datagram deadline failed", error)
            return clock_now() + FAILED_TIMEOUT_US

    cdef void _arm(self) noexcept:
        """One timer for all; one that is armed too early is left to fire, which is harmless."""
        cdef int64_t earliest = NEVER
        cdef int64_t now, tick
        cdef uint32_t index
        cdef itimerspec setting
        for index in range(self._slot_count):
            if self._deadlines[index] < earliest:
                earliest = self._deadlines[index]
        # After it fired (NEVER) it is set whatever there is: that is what ends its readiness.
        if self._epoll_fd < 0 or (earliest >= self._armed and self._armed != NEVER):
            return
        now = clock_now()
        if earliest > now + SLEEP_US_MAX:
            earliest = now + SLEEP_US_MAX
        tick = SHARED_TICK_US if self._used >= SHARED_SLOTS else TICK_US
        # The same moments for all: what is due within a tick is one wake-up.
        self._armed = ((earliest if earliest > now else now) // tick + 1) * tick
        setting.it_interval.tv_sec = setting.it_interval.tv_nsec = 0
        setting.it_value.tv_sec = self._armed // 1_000_000
        setting.it_value.tv_nsec = self._armed % 1_000_000 * 1_000
        timerfd_settime(self._timer_fd, TFD_TIMER_ABSTIME, &setting, NULL)

    # --- reading -----------------------------------------------------------------------------

    cdef bint _read(self, Slot* slot, int budget) noexcept:
        """Hand in up to ``budget`` packets, answering as described at the top; True if it is empty.
        """
        cdef Port port = <Port> slot.port
        cdef mmsghdr* messages = self._scratch.incoming
        cdef int count, number, wanted, errors = 0
        cdef int64_t now = clock_now()
        cdef int done = 0, singles = IMMEDIATE
        while done < budget:
            wanted = 1 if done < singles else BATCH
            for number in range(wanted):
                messages[number].msg_hdr.msg_namelen = sizeof(sockaddr_in6)
                messages[number].msg_hdr.msg_controllen = 8 * CONTROL_WORDS
            count = self._receive(slot.fd, wanted)
            if count < 0:
                if errno == EINTR:
                    continue
                if errno == EAGAIN or errno == EBADF or errno == ENOTSOCK:
                    return True
                slot.receive_errors += 1  # a pending ICMP error: reading it clears it
                errors += 1
                if errors == RECEIVE_ERRORS_MAX:
                    return False
                continue
            if wanted > 1:
                now = clock_now()
            for number in range(count):
                self._deliver(slot, port, &messages[number], now)
            self._flush(slot, port)
            done += count
            if count < wanted:
                # What a batch answered may have been asked about already: sleeping costs more than
                # to look once more, and the budget ends it.
                singles = done + IMMEDIATE
        return False

    cdef inline int _receive(self, int fd, int wanted) noexcept:
        """Like recvmmsg: number of messages, or -1 and errno."""
        cdef Py_ssize_t size
        if self._receive_fault_count:
            self._receive_fault_count -= 1
            set_errno(self._receive_faults[self._receive_fault_count])
            return -1
        if wanted > 1:
            return recvmmsg(fd, self._scratch.incoming, wanted, MSG_DONTWAIT, NULL)
        size = recvmsg(fd, &self._scratch.incoming[0].msg_hdr, MSG_DONTWAIT)
        if size < 0:
            return -1
        self._scratch.incoming[0].msg_len = <unsigned int> size
        return 1

    cdef inline void _deliver(
        self, Slot* slot, Port port, mmsghdr* message, int64_t now
    ) noexcept:
        cdef const uint8_t* data = <const uint8_t*> message.msg_hdr.msg_iov.iov_base
        cdef Py_ssize_t size = message.msg_len
        cdef Address source
        slot.received += 1
        slot.received_bytes += size
        if message.msg_hdr.msg_controllen:
            note_drops(slot, &message.msg_hdr)
        if message.msg_hdr.msg_flags & MSG_TRUNC:
            slot.truncated += 1
            return
        if is_foreign(slot, data, size) and not show_foreign(slot, now):
            return
        if from_socket(<sockaddr_in6*> message.msg_hdr.msg_name, &source):
            slot.damaged += not port.receive(data, size, &source, now)

    # --- writing -----------------------------------------------------------------------------

    cdef void _flush(self, Slot* slot, Port port) noexcept:
        """Send all that the port has to say."""
        cdef Scratch* scratch = self._scratch
        cdef Address target
        cdef Py_ssize_t size
        cdef int count, _round
        for _round in range(FLUSH_ROUNDS_MAX):
            count = 0
            while count < BATCH:
                size = port.transmit(scratch.out_bytes[count], &target)
                if size <= 0:
                    break
                scratch.outgoing[count].msg_hdr.msg_namelen = to_socket(
                    slot, &target, &scratch.out_names[count]
                )
                if scratch.outgoing[count].msg_hdr.msg_namelen == 0:
                    slot.send_dropped += 1
                    continue
                scratch.out_vectors[count].iov_len = size
                count += 1
            if count == 0:
                return
            self._send(slot, count)
            if count < BATCH:
                return

    cdef void _send(self, Slot* slot, int count) noexcept:
        cdef mmsghdr* messages = self._scratch.outgoing
        cdef int offset = 0, retried = -1, sent, number
        while offset < count:
            sent = self._transmit(slot.fd, messages + offset, count - offset)
            if sent > 0:
                for number in range(offset, offset + sent):
                    slot.sent_bytes += self._scratch.out_vectors[number].iov_len
                slot.sent += sent
                offset += sent
            elif errno == EINTR:
                continue
            elif errno == EAGAIN or errno == ENOBUFS or errno == ENOMEM:
                slot.send_dropped += count - offset  # gossip repeats itself; waiting stalls
                return
            elif errno == ECONNREFUSED and retried != offset:
                retried = offset  # the error of an earlier packet; reported once, now it is gone
            else:
                slot.send_refused += 1
                offset += 1

    cdef inline int _transmit(self, int fd, mmsghdr* messages, int count) noexcept:
        """Like sendmmsg: number of messages sent, or -1 and errno."""
        if self._send_fault_count:
            self._send_fault_count -= 1
            set_errno(self._send_faults[self._send_fault_count])
            return -1
        if count > 1:
            return sendmmsg(fd, messages, count, MSG_DONTWAIT | MSG_NOSIGNAL)
        return 1 if sendto(
            fd, messages.msg_hdr.msg_iov.iov_base, messages.msg_hdr.msg_iov.iov_len,
            MSG_DONTWAIT | MSG_NOSIGNAL, messages.msg_hdr.msg_name, messages.msg_hdr.msg_namelen
        ) >= 0 else -1

    # --- private -----------------------------------------------------------------------------

    cdef void _prepare_scratch(self) noexcept:
        """What never changes between calls: where the names, vectors and bytes of a message are."""
        cdef Scratch* scratch = self._scratch
        cdef int number
        for number in range(BATCH):
            scratch.in_vectors[number].iov_base = scratch.in_bytes[number]
            scratch.in_vectors[number].iov_len = IN_BYTES
            scratch.incoming[number].msg_hdr.msg_iov = &scratch.in_vectors[number]
            scratch.incoming[number].msg_hdr.msg_iovlen = 1
            scratch.incoming[number].msg_hdr.msg_name = &scratch.in_names[number]
            scratch.incoming[number].msg_hdr.msg_control = scratch.control[number]
            scratch.out_vectors[number].iov_base = scratch.out_bytes[number]
            scratch.outgoing[number].msg_hdr.msg_iov = &scratch.out_vectors[number]
            scratch.outgoing[number].msg_hdr.msg_iovlen = 1
            scratch.outgoing[number].msg_hdr.msg_name = &scratch.out_names[number]

    cdef Slot* _free_slot(self) except NULL:
        cdef Slot* slot
        cdef Slot** grown
        cdef uint32_t index, generation
        cdef int64_t* deadlines
        for index in range(self._slot_count):
            slot = self._slots[index]
            if slot.fd < 0 and not slot.is_touched:  # else it is still in the list of the touched
                generation = slot.generation
                memset(slot, 0, sizeof(Slot))
                slot.generation = generation
                break
        else:
            index = self._slot_count
            if index == SLOTS_MAX:
                raise ValueError(f"the hub has {SLOTS_MAX} ports, which is its limit")
            grown = <Slot**> realloc(self._slots, (index + 1) * sizeof(Slot*))
            if grown == NULL:
                raise MemoryError
            self._slots = grown
            deadlines = <int64_t*> realloc(self._deadlines, (index + 1) * sizeof(int64_t))
            if deadlines == NULL:
                raise MemoryError
            self._deadlines = deadlines
            slot = <Slot*> calloc(1, sizeof(Slot))
            if slot == NULL:
                raise MemoryError
            grown[index] = slot
            self._slot_count += 1
            self._ports.append(None)
            self._sockets.append(None)
            self._callbacks.append(None)
        slot.index = index
        slot.fd = -1
        self._deadlines[index] = NEVER
        return slot

    cdef inline Slot* _find(self, uint64_t handle) noexcept:
        """The slot of a handle; NULL for one that was removed, even if its place is taken again."""
        cdef uint32_t index = <uint32_t> handle
        cdef Slot* slot
        if index >= self._slot_count:
            return NULL
        slot = self._slots[index]
        if slot.fd < 0 or slot.generation != <uint32_t> (handle >> 32):
            return NULL
        return slot

    cdef inline void _touch(self, Slot* slot) noexcept:
        if not slot.is_touched:
            slot.is_touched = True
            slot.following = self._touched
            self._touched = slot.index

    cdef _report(self, message, error):
        self._loop.call_exception_handler({"message": message, "exception": error})
