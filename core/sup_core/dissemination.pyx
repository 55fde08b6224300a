"""What news travels next, how often, and to whom.

Two lanes, membership and user rumors. An item is a row or a slot, not a message: it is encoded
from the store when it is sent, so a queue never holds anything stale and is as bounded as the
stores. Within a lane the item with the fewest copies sent goes first, then the oldest. The lanes
share a packet by deficit round robin (the node fills it), so neither can starve the other. One
batch goes to all targets of a tick. O(1) for every operation.

An item leaves after two ticks, whatever the size of the ring: one target of a tick is a neighbour
in id order, the next and the one before by turns, and a chain of neighbours that forward on first
sight reaches whom the random targets missed. Chance alone needs ln(N) + 3 copies for that and
still misses some. While there is a backlog, of a mass start above all, a copy that is heard counts
like one that is sent. What a lossy chain misses, anti-entropy repairs. Sources: SWIM, Das et al.
2002, section 4.1; hybrid dissemination, Voulgaris and van Steen 2007; deficit round robin,
Shreedhar and Varghese 1995.
"""
from libc.stdint cimport int8_t, int32_t, uint8_t, uint16_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset
from sup_core.limits cimport BATCH_ITEMS_MAX
from sup_core.member_table cimport FLAG_NEWS_CARD, STATE_ALIVE, MemberTable
from sup_core.prng cimport Prng

cdef enum:
    # One tick each for the neighbour after and the one before.
    _TICKS = 2
    # A fan-out of one tells nobody twice otherwise.
    _COPIES_MIN = 4
    # More than one packet of cards.
    _BACKLOG = 24
    _KEPT_CAPACITY = 64

# One batch for all nodes of the process: it is opened and closed within one call into one node,
# and such a call never lets go of the interpreter's lock.
cdef Picked _picked[BATCH_ITEMS_MAX]


cdef class Dissemination:
    """The news that one node still has to tell."""

    def __cinit__(self, MemberTable table not None, Prng prng not None) -> None:
        cdef int lane
        cdef int level
        self.table = table
        self.prng = prng
        self.last_tick = -0x3FFFFFFFFFFFFFFF
        self.picked = _picked
        for lane in range(NEWS_CLASSES):
            for level in range(LEVELS):
                self.lanes[lane].first[level] = NO_ITEM
                self.lanes[lane].last[level] = NO_ITEM

    def __dealloc__(self) -> None:
        free(self.lanes[0].items)
        free(self.lanes[1].items)

    cdef void enqueue(self, int lane, int32_t index) noexcept:
        """Tell this from the start, whether or not it is queued."""
        cdef Lane* at = &self.lanes[lane]
        cdef int32_t wanted
        cdef void* p
        if index >= at.capacity:
            if lane == NEWS_MEMBERS:
                wanted = self.table.capacity
            else:
                wanted = at.capacity * 2 if at.capacity else 16
                while wanted <= index:
                    wanted *= 2
            p = realloc(at.items, wanted * sizeof(Item))
            if p == NULL:
                self.dropped[lane] += 1
                return
            at.items = <Item*> p
            memset(&at.items[at.capacity], 0, (wanted - at.capacity) * sizeof(Item))
            at.capacity = wanted
        if at.items[index].place:
            self._unlink(at, index)
        self._append(at, index, 0, False)

    cdef void remove(self, int lane, int32_t index) noexcept:
        """Stop telling this."""
        cdef Lane* at = &self.lanes[lane]
        if self.queued(lane, index):
            self._unlink(at, index)
            self._give_back(at)

    cdef bint queued(self, int lane, int32_t index) noexcept:
        """Whether this is still to be told."""
        return index < self.lanes[lane].capacity and self.lanes[lane].items[index].place != 0

    cdef void _give_back(self, Lane* lane) noexcept:
        # An empty lane needs no memory, unless what is in the batch comes back to it.
        if lane.count == 0 and self.picked_count == 0 and lane.capacity > _KEPT_CAPACITY:
            free(lane.items)
            lane.items = NULL
            lane.capacity = 0

    cdef void heard_again(self, int lane, int32_t index) noexcept:
        """Somebody told this too: while there is a backlog that counts as a copy."""
        cdef Lane* at = &self.lanes[lane]
        cdef int level
        if at.count < _BACKLOG or not self.queued(lane, index):
            return
        level = at.items[index].place
        self._unlink(at, index)
        # What is left of the limit must be worth a tick.
        if level + self.settings.gossip_fanout <= self.transmit_limit():
            self._append(at, index, level, False)
        elif lane == NEWS_MEMBERS:
            self.table.flags[index] &= ~FLAG_NEWS_CARD

    cdef bint pending(self) noexcept:
        return self.lanes[0].count != 0 or self.lanes[1].count != 0

    cdef int transmit_limit(self) noexcept:
        """Copies of one item: what two ticks send, at least ``_COPIES_MIN``."""
        cdef int limit = _TICKS * self.settings.gossip_fanout
        if limit < _COPIES_MIN:
            limit = _COPIES_MIN
        return limit if limit < LEVELS else LEVELS - 1

    cdef int choose_targets(self, int32_t* out) noexcept:
        """Up to ``gossip_fanout`` different live members. ``out`` holds 16.

        One of them is a neighbour in id order, the next and the one before by turns; the others are
        drawn at random, suspects too: they must hear what is said of them.
        """
        cdef int count = 0
        cdef int tries = 0
        cdef int i
        cdef int32_t row
        cdef int wanted = self.settings.gossip_fanout
        if wanted > self.table.live_count:
            wanted = self.table.live_count
        if wanted > 1:
            self.behind = not self.behind
            row = self.table.previous_in_order() if self.behind else self.table.next_in_order()
            if row > 0:
                out[0] = row
                count = 1
        # With three wanted of many a clash is rare; the bound keeps small rings from spinning.
        while count < wanted and tries < 16 * wanted:
            tries += 1
            row = self.table.random_live(self.prng)
            for i in range(count):
                if out[i] == row:
                    row = -1
                    break
            if row >= 0:
                out[count] = row
                count += 1
        # A copy to a suspect is probably lost: after a mass crash most of them would be. One
        # counts, so that who is left alone with suspects falls silent in the end.
        self.copies = 0
        for i in range(count):
            self.copies += self.table.states[out[i]] == STATE_ALIVE
        if self.copies == 0:
            self.copies = 1
        return count

    cdef void open_batch(self) noexcept:
        self.picked_count = 0

    cdef bint pick(self, int lane, int32_t* index) noexcept:
        """Take the lane's next item into the batch; False when it has none or the batch is full."""
        cdef Lane* at = &self.lanes[lane]
        cdef int level
        cdef Picked* picked
        if at.count == 0 or self.picked_count >= BATCH_ITEMS_MAX:
            return False
        for level in range(LEVELS):
            if at.first[level] != NO_ITEM:
                index[0] = at.first[level]
                self._unlink(at, index[0])
                picked = &self.picked[self.picked_count]
                picked.lane = <uint8_t> lane
                picked.level = <int8_t> level
                picked.index = index[0]
                self.picked_count += 1
                return True
        return False

    cdef void put_back(self) noexcept:
        """Undo the last pick: it did not fit."""
        cdef Picked* picked
        self.picked_count -= 1
        picked = &self.picked[self.picked_count]
        self._append(&self.lanes[picked.lane], picked.index, picked.level, True)

    cdef void close_batch(self, int copies) noexcept:
        """The batch went to ``copies`` members: queue again what is below its limit."""
        cdef int limit = self.transmit_limit()
        cdef int i
        cdef int level
        cdef Picked* picked
        for i in range(self.picked_count):
            picked = &self.picked[i]
            level = picked.level + copies
            if level < limit:
                self._append(&self.lanes[picked.lane], picked.index, level, False)
            elif picked.lane == NEWS_MEMBERS:
                # The card was told often enough; what comes next is a status again.
                self.table.flags[picked.index] &= ~FLAG_NEWS_CARD
        self.picked_count = 0
        self._give_back(&self.lanes[0])
        self._give_back(&self.lanes[1])

    cdef void _append(self, Lane* lane, int32_t index, int level, bint at_front) noexcept:
        cdef Item* item = &lane.items[index]
        item.place = <uint8_t> (level + 1)
        item.following = NO_ITEM
        item.previous = NO_ITEM
        if at_front:
            item.following = lane.first[level]
            if item.following != NO_ITEM:
                lane.items[item.following].previous = <uint16_t> index
            else:
                lane.last[level] = <uint16_t> index
            lane.first[level] = <uint16_t> index
        else:
            item.previous = lane.last[level]
            if item.previous != NO_ITEM:
                lane.items[item.previous].following = <uint16_t> index
            else:
                lane.first[level] = <uint16_t> index
            lane.last[level] = <uint16_t> index
        lane.count += 1

    cdef void _unlink(self, Lane* lane, int32_t index) noexcept:
        cdef Item* item = &lane.items[index]
        cdef int level = item.place - 1
        if item.previous != NO_ITEM:
            lane.items[item.previous].following = item.following
        else:
            lane.first[level] = item.following
        if item.following != NO_ITEM:
            lane.items[item.following].previous = item.previous
        else:
            lane.last[level] = item.previous
        item.place = 0
        lane.count -= 1
