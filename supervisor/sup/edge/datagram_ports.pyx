# cython: auto_pickle=False, autotestdict=False
"""What sits on the UDP hub: a node of the gossip core, or a measuring stick.

A port takes datagrams and gives datagrams at the level of C; the hub asks it for its next deadline
and fires it. A port written in Python (tests) overrides ``next_timeout`` and ``handle_timeout``;
those that are compiled answer without Python. Nothing here touches a socket.
"""

cimport cython
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from sup.edge.datagram_slot cimport BATCH, OUT_BYTES, TAG_BYTES, clock_now
from sup.edge.linux_net cimport htole64, le64toh
from sup_core.identity cimport Address, sip_hash
from sup_core.node cimport Node


cdef int64_t NEVER = INT64_MAX
cdef uint64_t TAG_SALT = 0x7375702D75647031  # "sup-udp1": a tag is no other hash of the core


cdef class Port:
    """One member on the hub: takes datagrams, gives datagrams, has a next deadline."""

    cdef bint receive(
        self, const uint8_t* data, Py_ssize_t size, const Address* source, int64_t now
    ) noexcept:
        """Take one datagram; False if it is damaged."""
        return True

    cdef Py_ssize_t transmit(self, uint8_t* buffer, Address* target) noexcept:
        return 0

    cdef int64_t next_due(self) except? -1:
        return self.next_timeout()

    cdef int timeout(self, int64_t now) except -1:
        self.handle_timeout(now)
        return 0

    cdef bint has_news(self) noexcept:
        """Whether who owns the port should look: there are events or requests."""
        return True

    def next_timeout(self):
        """Absolute µs of the next deadline; a huge number for never."""
        return NEVER

    def handle_timeout(self, now):
        """Called at or after the deadline, when the socket has been read empty."""


@cython.final
cdef class NodePort(Port):
    """A node of the gossip core on the hub.

    Each packet carries a tag of 8 bytes at its end, a SipHash keyed with ``key``: a packet with one
    changed bit would otherwise pass as a different message, and UDP's 16-bit sum lets 1 of 65,000
    through. It keeps out damage and noise, not somebody who knows the ring's name.
    """

    def __init__(self, Node node not None, key):
        self.node = node
        self._key = key & 0xFFFFFFFFFFFFFFFF

    cdef bint receive(
        self, const uint8_t* data, Py_ssize_t size, const Address* source, int64_t now
    ) noexcept:
        size = _untagged(self._key, data, size)
        if size < 0:
            return False
        self.node.receive(data, size, source, now)
        return True

    cdef Py_ssize_t transmit(self, uint8_t* buffer, Address* target) noexcept:
        cdef Py_ssize_t size = self.node.transmit(buffer, target)
        return _tagged(self._key, buffer, size) if size > 0 else 0

    cdef int64_t next_due(self) except? -1:
        return self.node.next_due()

    cdef int timeout(self, int64_t now) except -1:
        self.node.timeout(now)
        return 0

    cdef bint has_news(self) noexcept:
        return self.node.has_news()

    def next_timeout(self):
        """See ``Node.next_timeout``."""
        return self.node.next_timeout()

    def handle_timeout(self, now):
        """See ``Node.handle_timeout``."""
        self.node.handle_timeout(now)


@cython.final
cdef class EchoPort(Port):
    """Sends each datagram back: a measuring stick for the hub without a node.

    With a ``key`` it checks and writes the tag of ``NodePort``. It holds one batch; what is over
    1400 bytes is not answered.
    """

    def __cinit__(self, *_):
        self._data = <uint8_t*> malloc(BATCH * OUT_BYTES)
        self._sizes = <Py_ssize_t*> malloc(BATCH * sizeof(Py_ssize_t))
        self._targets = <Address*> malloc(BATCH * sizeof(Address))
        if self._data == NULL or self._sizes == NULL or self._targets == NULL:
            raise MemoryError

    def __init__(self, key=None):
        self._is_tagged = key is not None
        self._key = (key or 0) & 0xFFFFFFFFFFFFFFFF

    def __dealloc__(self):
        free(self._data)
        free(self._sizes)
        free(self._targets)

    cdef bint receive(
        self, const uint8_t* data, Py_ssize_t size, const Address* source, int64_t now
    ) noexcept:
        if self._is_tagged:
            size = _untagged(self._key, data, size)
            if size < 0:
                return False
        if size > 1400 or self._tail == BATCH:
            return True
        memcpy(self._data + self._tail * OUT_BYTES, data, size)
        self._sizes[self._tail] = size
        self._targets[self._tail] = source[0]
        self._tail += 1
        return True

    cdef Py_ssize_t transmit(self, uint8_t* buffer, Address* target) noexcept:
        cdef Py_ssize_t size
        while self._head < self._tail:
            size = self._sizes[self._head]
            memcpy(buffer, self._data + self._head * OUT_BYTES, size)
            target[0] = self._targets[self._head]
            self._head += 1
            if size > 0:
                self.echoed += 1
                return _tagged(self._key, buffer, size) if self._is_tagged else size
        self._head = self._tail = 0
        return 0

    cdef int64_t next_due(self) except? -1:
        return NEVER

    cdef bint has_news(self) noexcept:
        return False


def clock_us():
    """The monotonic clock of the hub and the node, in µs."""
    return clock_now()


def tag_of(data, key):
    """The tag that a datagram of a ring carries at its end: for who speaks without a hub."""
    cdef bytes raw = data
    cdef uint64_t tag = sip_hash(
        key & 0xFFFFFFFFFFFFFFFF, TAG_SALT, <const uint8_t*> <const char*> raw, len(raw)
    )
    return int(tag).to_bytes(TAG_BYTES, "little")


cdef inline Py_ssize_t _untagged(uint64_t key, const uint8_t* data, Py_ssize_t size) noexcept:
    """The size without the tag; -1 if the tag is not there or wrong."""
    cdef uint64_t tag
    size -= TAG_BYTES
    if size < 0:
        return -1
    memcpy(&tag, data + size, TAG_BYTES)
    return size if le64toh(tag) == sip_hash(key, TAG_SALT, data, size) else -1


cdef inline Py_ssize_t _tagged(uint64_t key, uint8_t* buffer, Py_ssize_t size) noexcept:
    """Append the tag; the node's DATAGRAM_BYTES_MAX leaves room for it."""
    cdef uint64_t tag = htole64(sip_hash(key, TAG_SALT, buffer, size))
    memcpy(buffer + size, &tag, TAG_BYTES)
    return size + TAG_BYTES
