"""What happens to a rumor: merged by the store, digested, told, reported; published, retracted,
dropped.

A large one arrives as a header and is pulled. A last-writer stamp too far in the future is
refused. An own rumor that the ring holds in a newer version than this member (it lost its state)
is written above.

A rumor that only its owner may write counts as long as the owner does: it is part of the digest
exactly while the owner's row is, and one of an owner that is not in the table (it overtook the
card, or is a forgery) waits a minute, within bounds, for the owner to become known.

A rumor with a life expires at every holder by its own clock, the same moment but for what the news
took to travel: dropped, told once, and out of the digest. A mark stays that refuses the version, so
that no holder whose clock is a little behind brings it back.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy
from sup_core.anti_entropy cimport AntiEntropy
from sup_core.blobs cimport RumorBlob, rumor_drop, rumor_new, rumor_share
from sup_core.codec cimport Message
from sup_core.counters cimport *
from sup_core.dissemination cimport NEWS_RUMORS, Dissemination
from sup_core.effects cimport SOURCE_DISK, SOURCE_GOSSIP
from sup_core.event_queue cimport (
    EVENT_RUMOR,
    SELF_CLOCK,
    SELF_DUPLICATE_ID,
    SELF_OWN_RUMOR,
    EventRecord,
)
from sup_core.identity cimport short_of
from sup_core.kinds cimport RULE_NONE, RULE_OWNER, RULE_WRITER, Rule, rule_of
from sup_core.limits cimport (
    KEY_BYTES_MAX,
    ORIGIN_BYTES_MAX,
    ORIGIN_RUMORS_MAX,
    ORPHAN_BYTES_MAX,
    ORPHANS_MAX,
    RUMOR_BYTES_MAX,
    RUMORS_MAX,
    VALUE_BYTES_MAX,
)
from sup_core.member_table cimport STATE_DEAD, STATE_LEFT, STATE_SUSPECT, MemberTable
from sup_core.notices cimport Notices
from sup_core.pulls cimport Pulls
from sup_core.rumor_store cimport (
    OFFER_FULL,
    OFFER_KIND,
    OFFER_QUOTA,
    OFFER_TAKEN,
    Offer,
    RumorStore,
)
from sup_core.stamps cimport Stamps
from sup_core.views cimport version_view

from sup_core.errors import LimitError


cdef enum:
    _COUNTS = 0             # part of the digest
    _WAITS = 1              # held for a member that is not shown yet, or not for long any more
    _ORPHAN = 2             # of nobody who is known
    # A card that was overtaken comes with the next exchange or two, seconds later.
    _ORPHAN_AGE_US = 60000000
    # Looking at all rumors costs; who floods new members must not make it happen per packet.
    _RECOUNT_INTERVAL_US = 100000
    # Looking for what has lived out costs as much: so late may a rumor expire.
    _EXPIRY_STEP_US = 100000
    # Clocks of a day's life differ by seconds, a packet or a stream is under way for as long.
    _MARK_AGE_US = 60000000
    # A header whose body would be dead on arrival.
    _LIFE_SHORT_MS = 300

cdef int64_t _NEVER = 0x7FFFFFFFFFFFFFFF
cdef int64_t _LIFE_MIN_US = 1000000
# What 32 bits of milliseconds hold.
cdef int64_t _LIFE_MAX_US = 4294967295000


cdef class Rumors:
    """The rumor rules of one node."""

    def __cinit__(
            self, MemberTable table not None, RumorStore store not None, Stamps stamps not None,
            Pulls pulls not None, Dissemination dissemination not None,
            AntiEntropy anti_entropy not None, Notices notices not None, Tally tally not None
    ) -> None:
        self.table = table
        self.store = store
        self.stamps = stamps
        self.pulls = pulls
        self.dissemination = dissemination
        self.anti_entropy = anti_entropy
        self.notices = notices
        self.tally = tally
        self.expiry = _NEVER

    cdef void rumor_message(self, Message* m, int32_t source, int how) noexcept:
        cdef RumorBlob* blob
        cdef Rule rule = rule_of(m.kind)
        if how == SOURCE_DISK and not self._aged_well(m, rule):
            return
        if not self.wanted(m, how):
            return
        if (
            m.value != NULL
            and how != SOURCE_DISK
            and rule == RULE_OWNER
            and memcmp(m.origin, self.table.id_of(0), 16) == 0
        ):
            self.overrule(m)
            return
        blob = rumor_new(m.key, m.key_size, m.value, m.value_size)
        if blob == NULL:
            return
        _name_blob(blob, m)
        blob.value_hash = self.store.value_hash(m.value, m.value_size)
        self.take(blob, m.age_s, <int64_t> m.life_ms * 1000, how != SOURCE_DISK)

    cdef void header_message(self, Message* m, int32_t source) noexcept:
        """A large rumor is announced: pull it unless it is held."""
        cdef RumorBlob* blob
        cdef int32_t slot
        cdef Rule rule = rule_of(m.kind)
        if 0 < m.life_ms < _LIFE_SHORT_MS:
            return
        if source <= 0 or m.value_size == 0 or not self.wanted(m, SOURCE_GOSSIP):
            return
        if rule == RULE_OWNER and memcmp(m.origin, self.table.id_of(0), 16) == 0:
            self.overrule(m)
            return
        blob = rumor_new(m.key, m.key_size, NULL, 0)
        if blob == NULL:
            return
        _name_blob(blob, m)
        blob.value_hash = m.value_hash
        slot = self.store.find(blob.kind, blob.data, blob.key_size, blob.origin)
        if slot == -2:
            rumor_drop(blob)
            return
        if slot >= 0:
            blob.tombstone = 0
            if rule == RULE_OWNER or rule == RULE_WRITER:
                if self.store.weigh(blob, slot) != OFFER_TAKEN:
                    self.tally.counts[COUNT_RUMOR_STALE] += 1
                    rumor_drop(blob)
                    return
            elif self.store.entries[slot].blob.value_hash == m.value_hash:
                rumor_drop(blob)
                return
        blob.tombstone = 1
        self.pulls.want(self.store.name_of(
            blob.kind, m.key, m.key_size, m.origin
        ), blob, m.value_size,
                        source, self.table.generations[source], self.now)

    cdef bint _aged_well(self, Message* m, Rule rule) noexcept:
        # Time went on while the snapshot lay on the disk.
        cdef int64_t age_s = m.age_s + self.away // 1000000
        if self.own_only and (rule == RULE_OWNER or rule == RULE_WRITER):
            if rule != RULE_OWNER or memcmp(m.origin, self.table.id_of(0), 16) != 0:
                return False
        if m.value == NULL:
            m.age_s = <uint32_t> age_s if age_s < 0x7FFFFFFF else 0x7FFFFFFF
            return age_s * 1000000 <= self.settings.tombstone_floor_us
        if m.life_ms:
            if m.life_ms <= self.away // 1000:
                return False
            m.life_ms -= <uint32_t> (self.away // 1000)
        return True

    cdef bint wanted(self, Message* m, int how) noexcept:
        # Whether a rumor or its header may be looked at at all; what may not is counted.
        cdef Rule rule = rule_of(m.kind)
        if rule == RULE_NONE:
            self.tally.counts[COUNT_RUMOR_KIND] += 1
            return False
        if rule == RULE_WRITER:
            if self.stamps.too_far_ahead(m.a, self.now, self.settings.stamp_ahead_us):
                self.tally.counts[COUNT_RUMOR_AHEAD] += 1
                self.notices.tell(SELF_CLOCK, short_of(m.origin), NULL, self.now)
                return False
            self.stamps.observe(m.a, m.b)
        return True

    cdef bint take(
            self, RumorBlob* blob, uint32_t age_s, int64_t life_us, bint news
    ) noexcept:
        """Merge a rumor, whose reference is consumed; True when it was taken. Life 0: for ever."""
        cdef Rule rule = rule_of(blob.kind)
        cdef int32_t slot = self.store.find(blob.kind, blob.data, blob.key_size, blob.origin)
        cdef RumorBlob* previous = NULL
        cdef uint64_t old_hash = 0
        cdef uint64_t name
        cdef uint8_t digested = 0
        cdef int standing
        cdef bint fresh
        cdef uint32_t cost
        cdef int64_t age_us = <int64_t> age_s * 1000000
        cdef int pull
        cdef Offer verdict
        cdef EventRecord* record
        if slot == -1 and news and blob.tombstone and 2 * age_us > self.settings.tombstone_floor_us:
            rumor_drop(blob)
            return False
        if (
            slot >= 0
            and (rule == RULE_OWNER or rule == RULE_WRITER)
            and self.store.weigh(blob, slot) != OFFER_TAKEN
        ):
            self.tally.counts[COUNT_RUMOR_STALE] += 1
            rumor_drop(blob)
            return False
        standing = self._standing(blob)
        cost = blob.key_size + blob.value_size
        if standing == _ORPHAN and (
            (slot < 0 and self.orphans >= ORPHANS_MAX)
            or self.orphan_bytes + cost > ORPHAN_BYTES_MAX
        ):
            self.tally.counts[COUNT_RUMOR_QUOTA] += 1
            rumor_drop(blob)
            return False
        if slot >= 0:
            digested = self.store.entries[slot].digested
            old_hash = self.store.entry_hash(slot)
        fresh = slot < 0
        verdict = self.store.offer(blob, self.now - age_us, &slot, &previous)
        if verdict != OFFER_TAKEN:
            if verdict == OFFER_QUOTA:
                self.tally.counts[COUNT_RUMOR_QUOTA] += 1
            elif verdict == OFFER_FULL:
                self.tally.counts[COUNT_RUMOR_FULL] += 1
            elif verdict == OFFER_KIND:
                self.tally.counts[COUNT_RUMOR_KIND] += 1
            else:
                self.tally.counts[COUNT_RUMOR_STALE] += 1
            return False
        name = self.store.entries[slot].name
        if life_us and (rule == RULE_OWNER or rule == RULE_WRITER):
            if not self.store.entries[slot].blob.tombstone:
                self.store.entries[slot].expires = self.now + life_us
                if self.now + life_us < self.expiry:
                    self.expiry = self.now + life_us
        if digested:
            self.anti_entropy.subtract(name, old_hash, self.now)
        if standing == _COUNTS:
            self.store.entries[slot].digested = 1
            self.anti_entropy.add(name, self.store.entry_hash(slot), self.now)
        else:
            self.store.entries[slot].digested = 0
            self.uncounted += 1
            if standing == _ORPHAN:
                self.orphan_bytes += cost
                self.orphans += fresh
        pull = self.pulls.find(name)
        if pull >= 0 and (
            (rule != RULE_OWNER and rule != RULE_WRITER) or self.store.weigh(
                self.pulls.slots[pull].wanted, slot
            ) != OFFER_TAKEN
        ):
            self.pulls.end(pull)
        record = self.notices.events.push()
        if record == NULL:
            rumor_drop(previous)
        else:
            record.what = EVENT_RUMOR
            record.rumor = rumor_share(self.store.entries[slot].blob)
            record.previous = previous
            self.notices.events.charge(record)
        if news:
            self.dissemination.enqueue(NEWS_RUMORS, slot)
        return True

    cdef void overrule(self, Message* m) noexcept:
        """The ring holds an own rumor newer than this member's (lost state): write above it."""
        cdef int32_t slot = self.store.find(<uint8_t> m.kind, m.key, m.key_size, m.origin)
        cdef RumorBlob* held = NULL
        cdef RumorBlob* blob
        cdef int64_t life_us = 0
        if slot == -2:
            return
        if slot >= 0:
            held = self.store.entries[slot].blob
            if m.a < held.a or (m.a == held.a and m.b <= held.b):
                return
        if m.a > self.table.epochs[0]:
            self.notices.tell(SELF_DUPLICATE_ID, m.a, NULL, self.now)
            return
        if m.a == self.table.epochs[0] and m.b > self.own_seq:
            self.own_seq = m.b
        if held != NULL and not held.tombstone:
            blob = rumor_new(m.key, m.key_size, held.data + held.key_size, held.value_size)
            if self.store.entries[slot].expires:
                life_us = self.store.entries[slot].expires - self.now
                if life_us < 1:
                    life_us = 1
        else:
            blob = rumor_new(m.key, m.key_size, NULL, 0)
        if blob == NULL:
            return
        self.own_seq += 1
        blob.kind = <uint8_t> m.kind
        memcpy(blob.origin, m.origin, 16)
        blob.a = self.table.epochs[0]
        blob.b = self.own_seq
        if held != NULL and not held.tombstone:
            blob.value_hash = held.value_hash
        self.notices.tell(SELF_OWN_RUMOR, m.kind, NULL, self.now)
        self.take(blob, 0, life_us, True)

    cdef object publish(self, object kind, object key, object value, int64_t life_us):
        cdef RumorBlob* blob
        cdef bytes raw_key = key
        cdef bytes raw_value = value if value is not None else b""
        cdef const uint8_t* data = NULL
        cdef Rule rule
        cdef int32_t slot
        if not 0 < kind < 256 or rule_of(kind) == RULE_NONE:
            raise LimitError(f"kind is {kind}, allowed are 1..191")
        if len(raw_key) > KEY_BYTES_MAX:
            raise LimitError(f"key is {len(raw_key)} bytes, limit is {KEY_BYTES_MAX}")
        if len(raw_value) > VALUE_BYTES_MAX:
            raise LimitError(f"value is {len(raw_value)} bytes, limit is {VALUE_BYTES_MAX}")
        rule = rule_of(kind)
        if life_us:
            if rule != RULE_OWNER and rule != RULE_WRITER:
                raise LimitError(f"kind {kind} only grows, it cannot expire")
            longest = self.settings.tombstone_floor_us // 2
            if longest > _LIFE_MAX_US:
                longest = _LIFE_MAX_US
            if not _LIFE_MIN_US <= life_us <= longest:
                raise LimitError(
                    f"ttl_us is {life_us}, allowed are 0 and {_LIFE_MIN_US}..{longest}, half the"
                    " tombstone floor"
                )
        if value is not None:
            data = <const uint8_t*> (<const char*> raw_value)
        blob = rumor_new(
            <const uint8_t*> (<const char*> raw_key), <uint32_t> len(raw_key),
            data, <uint32_t> len(raw_value)
        )
        if blob == NULL:
            raise MemoryError
        blob.kind = kind
        memcpy(blob.origin, self.table.id_of(0), 16)
        if rule == RULE_OWNER:
            self.own_seq += 1
            blob.a = self.table.epochs[0]
            blob.b = self.own_seq
        elif rule == RULE_WRITER:
            self.stamps.next_stamp(self.now, &blob.a, &blob.b)
        if value is not None:
            blob.value_hash = self.store.value_hash(
                <const uint8_t*> (<const char*> raw_value), <uint32_t> len(raw_value)
            )
        before = (
            self.tally.counts[COUNT_RUMOR_QUOTA], self.tally.counts[COUNT_RUMOR_FULL],
            self.tally.counts[COUNT_RUMOR_KIND]
        )
        if not self.take(blob, 0, life_us, True):
            if self.tally.counts[COUNT_RUMOR_QUOTA] > before[0]:
                raise LimitError(
                    f"this member's rumors are at a limit: {ORIGIN_RUMORS_MAX} rumors, "
                    f"{ORIGIN_BYTES_MAX} bytes; retract some"
                )
            if self.tally.counts[COUNT_RUMOR_FULL] > before[1]:
                raise LimitError(
                    f"the rumor store is full: {RUMORS_MAX} rumors, {RUMOR_BYTES_MAX} bytes"
                )
            if self.tally.counts[COUNT_RUMOR_KIND] > before[2]:
                raise ValueError(
                    f"kind {kind} merges 8-byte counters, the value is {len(raw_value)} bytes"
                )
        slot = self.store.find(
            kind, <const uint8_t*> (<const char*> raw_key), <uint32_t> len(raw_key),
            self.table.id_of(0)
        )
        return version_view(self.store.entries[slot].blob)

    cdef void expire(self) noexcept:
        """Drop what has lived out, and set when to look again."""
        cdef int32_t i
        cdef RumorBlob* blob
        cdef int64_t expires
        self.expiry = _NEVER
        for i in range(self.store.slots):
            blob = self.store.entries[i].blob
            expires = self.store.entries[i].expires
            if blob == NULL or expires == 0 or blob.tombstone:
                continue
            if expires <= self.now and self._expire(i):
                continue
            if expires < self.expiry:
                self.expiry = expires
        if self.expiry < self.now + _EXPIRY_STEP_US:
            self.expiry = self.now + _EXPIRY_STEP_US

    cdef bint _expire(self, int32_t slot) noexcept:
        cdef uint64_t counted = self.store.entry_hash(slot)
        cdef RumorBlob* previous = self.store.expire(slot, self.now)
        cdef EventRecord* record
        if previous == NULL:
            return False
        self.expired += 1
        if self.store.entries[slot].digested:
            self.anti_entropy.subtract(self.store.entries[slot].name, counted, self.now)
            self.store.entries[slot].digested = 0
        self.dissemination.remove(NEWS_RUMORS, slot)
        record = self.notices.events.push()
        if record == NULL:
            rumor_drop(previous)
            return True
        record.what = EVENT_RUMOR
        record.rumor = rumor_share(self.store.entries[slot].blob)
        record.previous = previous
        self.notices.events.charge(record)
        return True

    cdef void drop(self, int32_t slot) noexcept:
        if self.store.entries[slot].digested:
            self.anti_entropy.subtract(
                self.store.entries[slot].name, self.store.entry_hash(slot),
                self.anti_entropy.changed
            )
        self.dissemination.remove(NEWS_RUMORS, slot)
        self.store.drop(slot)

    cdef void drop_of(self, const uint8_t* origin) noexcept:
        """Drop the rumors that only a forgotten member may write."""
        cdef int32_t slot
        cdef RumorBlob* blob
        for slot in range(self.store.slots):
            blob = self.store.entries[slot].blob
            if (
                blob != NULL
                and rule_of(blob.kind) == RULE_OWNER
                and memcmp(blob.origin, origin, 16) == 0
            ):
                self.drop(slot)

    cdef int _standing(self, const RumorBlob* blob) noexcept:
        # Follows from the owner's row alone, so that members who agree on it agree on the digest.
        cdef int32_t row
        cdef uint8_t state
        if rule_of(blob.kind) != RULE_OWNER:
            return _COUNTS
        row = self.table.find(short_of(blob.origin))
        if row < 0 or memcmp(self.table.id_of(row), blob.origin, 16) != 0:
            return _ORPHAN
        state = self.table.told(row)
        if row == 0 or state <= STATE_SUSPECT:
            return _COUNTS
        if state != STATE_DEAD and state != STATE_LEFT:
            return _WAITS
        if self.now - self.table.since(row) > self.settings.tombstone_floor_us // 2:
            return _WAITS
        return _COUNTS

    cdef void owners_changed(self) noexcept:
        """A member began to count: so do the rumors that waited for it."""
        if self.uncounted and self.now - self.recounted >= _RECOUNT_INTERVAL_US:
            self.recount()
            self.stale_count = False
        else:
            self.stale_count = self.uncounted != 0

    cdef void recount(self) noexcept:
        """Put every owner rumor into the digest, or take it out, as its owner's row says."""
        cdef int32_t i
        cdef int standing
        cdef RumorBlob* blob
        self.recounted = self.now
        self.uncounted = 0
        self.orphans = 0
        self.orphan_bytes = 0
        for i in range(self.store.slots):
            blob = self.store.entries[i].blob
            if blob == NULL or rule_of(blob.kind) != RULE_OWNER:
                continue
            standing = self._standing(blob)
            if standing != _COUNTS:
                self.uncounted += 1
                if standing == _ORPHAN:
                    self.orphans += 1
                    self.orphan_bytes += blob.key_size + blob.value_size
                if self.store.entries[i].digested:
                    self.anti_entropy.subtract(
                        self.store.entries[i].name, self.store.entry_hash(i),
                        self.anti_entropy.changed
                    )
                    self.store.entries[i].digested = 0
            elif (
                not self.store.entries[i].digested and not self._aged(i)
                and not (blob.tombstone and self.store.entries[i].expires)
            ):
                self.anti_entropy.add(
                    self.store.entries[i].name, self.store.entry_hash(i), self.anti_entropy.changed
                )
                self.store.entries[i].digested = 1

    cdef bint _aged(self, int32_t slot) noexcept:
        # A tombstone past half the floor is part of nobody's digest.
        return (
            self.store.entries[slot].blob.tombstone != 0
            and self.now - self.store.entries[slot].changed > self.settings.tombstone_floor_us // 2
        )

    cdef void sweep(self) noexcept:
        """Collect orphans; take tombstones past half the floor out of the digest, drop what is past
        it.
        """
        cdef int64_t floor = self.settings.tombstone_floor_us
        cdef int32_t i
        cdef int64_t age
        cdef RumorBlob* blob
        for i in range(self.store.slots):
            blob = self.store.entries[i].blob
            if blob == NULL:
                continue
            age = self.now - self.store.entries[i].changed
            if age > _ORPHAN_AGE_US and self._standing(blob) == _ORPHAN:
                self.drop(i)
                continue
            if not blob.tombstone:
                continue
            if self.store.entries[i].expires:
                if age > _MARK_AGE_US:
                    self.drop(i)
                continue
            if age > floor // 2 and self.store.entries[i].digested:
                self.anti_entropy.subtract(
                    self.store.entries[i].name, self.store.entry_hash(i), self.anti_entropy.changed
                )
                self.store.entries[i].digested = 0
            if age > floor:
                self.drop(i)
        self.recount()


cdef void _name_blob(RumorBlob* blob, Message* m) noexcept:
    blob.kind = <uint8_t> m.kind
    memcpy(blob.origin, m.origin, 16)
    blob.a = m.a
    blob.b = m.b
