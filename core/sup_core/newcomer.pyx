"""From whom a newcomer takes its snapshot, and how much of that a member gives to newcomers.

The seeds' welcomes name live members; the newcomer asks one of them at random (seeds included), so
that a thousand starts are not fifty megabytes through one member. Who gives has an allowance in
bytes that fills up by the second; who is refused, or hears nothing, asks another after a wait that
doubles, with jitter. After _TRIES_MAX of them it gives up: anti-entropy brings what is missing.
Decides nothing about what a snapshot holds or is worth.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from sup_core.identity cimport ADDRESS_BYTES, Address, address_equal, address_read, address_write
from sup_core.limits cimport CONTACTS_MAX, SNAPSHOT_BURST_BYTES, SNAPSHOT_BYTES_PER_SECOND
from sup_core.member_table cimport STATE_ALIVE, MemberTable
from sup_core.prng cimport Prng
from sup_core.timers cimport TIMER_NEWCOMER, Timers

cdef enum:
    _TRIES_MAX = 8
    _WAIT_FIRST_US = 200000
    _WAIT_MAX_US = 2000000
    # A member that has been known for this long has its own snapshot.
    _SETTLED_US = 1000000


cdef class Newcomer:
    """Both sides of a start, for one node."""

    def __cinit__(
            self, MemberTable table not None, Timers timers not None, Prng prng not None
    ) -> None:
        self.table = table
        self.timers = timers
        self.prng = prng
        self.allowance = SNAPSHOT_BURST_BYTES

    cdef void offered(self, const Address* source, const uint8_t* list, uint32_t size) noexcept:
        """A welcome came: remember who sent it and whom it names."""
        cdef Address contact
        cdef uint32_t at = 0
        self._keep(source)
        while at + ADDRESS_BYTES <= size:
            address_read(&contact, list + at)
            self._keep(&contact)
            at += ADDRESS_BYTES

    cdef void _keep(self, const Address* contact) noexcept:
        # An even sample of all that were named (reservoir sampling, Vitter 1985).
        cdef int i
        for i in range(self.count):
            if address_equal(&self.contacts[i], contact):
                return
        self.seen += 1
        if self.count < CONTACTS_MAX:
            self.contacts[self.count] = contact[0]
            self.count += 1
        else:
            i = <int> self.prng.draw_below(<uint32_t> self.seen)
            if i < CONTACTS_MAX:
                self.contacts[i] = contact[0]

    cdef uint32_t name_contacts(self, uint8_t* out, int64_t now) noexcept:
        """Addresses of some settled live members, for a welcome; gives their bytes.

        ``out`` holds CONTACTS_MAX addresses.
        """
        cdef uint32_t size = 0
        cdef int _i
        cdef int32_t row
        if self.table.live_count == 0:
            return 0
        for _i in range(CONTACTS_MAX):
            row = self.table.random_live(self.prng)
            if self.table.states[row] == STATE_ALIVE and now - self.table.since(row) >= _SETTLED_US:
                address_write(self.table.address(row), out + size)
                size += ADDRESS_BYTES
        return size

    cdef bint choose(self, Address* out) noexcept:
        """Take a contact out at random; False when there is none left."""
        cdef int i
        if self.count == 0:
            return False
        i = <int> self.prng.draw_below(<uint32_t> self.count)
        out[0] = self.contacts[i]
        self.count -= 1
        self.contacts[i] = self.contacts[self.count]
        return True

    cdef bint failed(self, int64_t now) noexcept:
        """No snapshot came: wait for the next try; False when there were enough."""
        cdef int64_t wait = <int64_t> _WAIT_FIRST_US << self.tries
        self.tries += 1
        if self.tries >= _TRIES_MAX:
            self.settled = True
            return False
        if wait > _WAIT_MAX_US:
            wait = _WAIT_MAX_US
        # Half of it at random: those who were refused together must not come again together.
        wait = wait // 2 + <int64_t> self.prng.draw_below(<uint32_t> wait)
        self.waiting = self.timers.arm(now + wait, TIMER_NEWCOMER, 0, 0)
        return self.waiting

    cdef bint may_give(self, int64_t now) noexcept:
        """Whether the allowance still has something for a newcomer."""
        if now > self.counted:
            self.allowance += (now - self.counted) * SNAPSHOT_BYTES_PER_SECOND // 1000000
            self.counted = now
        if self.allowance > SNAPSHOT_BURST_BYTES:
            self.allowance = SNAPSHOT_BURST_BYTES
        if self.allowance > 0:
            return True
        self.refused += 1
        return False

    cdef void gave(self, int64_t size) noexcept:
        """So many bytes were given; the last one may go below nothing and is waited for."""
        self.allowance -= size
