"""The simulator's ledger: what every member holds of every other, against the truth, in C memory.

One byte per (viewer, member id) and a few counters per member id answer the questions that a large
ring raises, each in O(1) per event and without a Python object: do all agree on who lives, when was
a crash known to the first, the median and the last, who was declared dead while it ran, how often
was anybody suspected, when did a rumor reach whom. It reads event records before the driver does,
never touches a node and draws no random number. Changes that no order of events may tell (a
suspicion of who was dead) are counted as odd, with the first of them in words.

`sup_core.simulator` owns the truth and tells it here; `sup_core.simulator_checks` judges single
events in small rings, with the whole value at hand.
"""

cimport cython

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from sup_core.event_queue cimport (
    CHANGE_DIED, CHANGE_FORGOTTEN, CHANGE_JOINED, CHANGE_LEFT, CHANGE_REFUTED, CHANGE_RETURNED,
    CHANGE_SUSPECTED, CHANGE_UPDATED, EVENT_MEMBER, EVENT_RUMOR, EVENT_SELF, SELF_CUT_OFF,
    SELF_REACHABLE, EventRecord,
)
from sup_core.identity cimport short_of

from typing import NamedTuple

from sup_core.events import MemberChange, MemberEvent, RumorEvent, SelfEvent

cdef enum:
    # A byte of a row: what the viewer's events say, and whether that is of the present epoch.
    HELD_NONE = 0
    HELD_ALIVE = 1
    HELD_SUSPECT = 2
    HELD_DEAD = 3
    HELD_LEFT = 4
    HELD_STATE = 7
    HELD_FRESH = 8
    LIVES_MAX = 1 << 17     # rows of 128 KiB; a ring of 10,000 with 12 lives each
    DEATHS_MAX = 10_000     # remembered one by one; all are counted
    SPREADS_MAX = 64        # rumors that are followed at once

_CHANGES = tuple(MemberChange)
_NUMBERS = {change: number for number, change in enumerate(_CHANGES)}


class Death(NamedTuple):
    """A running host was declared dead; `excused`: it could not have been told from a crash."""

    t_us: int
    viewer: int
    host: int
    excused: bool


class Ending(NamedTuple):
    """Who knows of a crash or a departure, and since when (-1: not yet); times since the start."""

    ended_us: int
    first_us: int
    median_us: int
    last_us: int
    aware: int
    unaware: int


@cython.final
cdef class Spread:
    """One rumor on its way: when each host first saw it, and how many copies each received.

    A copy is a datagram that holds the key's bytes, so a followed key must be distinctive.
    """

    def __init__(self, int kind, bytes key, int64_t start_us) -> None:
        if len(key) < 4:
            raise ValueError(f"key is {len(key)} bytes, a followed one needs at least 4")
        self.kind = kind
        self.key = key
        self.start_us = start_us

    def __dealloc__(self) -> None:
        free(self.first)
        free(self.heard)

    cdef int room(self, Py_ssize_t hosts) except -1:
        cdef Py_ssize_t i
        cdef void* p
        if hosts <= self.hosts:
            return 0
        p = realloc(self.first, hosts * sizeof(int64_t))
        if p == NULL:
            raise MemoryError
        self.first = <int64_t*>p
        p = realloc(self.heard, hosts * sizeof(uint32_t))
        if p == NULL:
            raise MemoryError
        self.heard = <uint32_t*>p
        for i in range(self.hosts, hosts):
            self.first[i] = -1
            self.heard[i] = 0
        self.hosts = hosts
        return 0

    cdef void packet(self, uint32_t host, const uint8_t* data, Py_ssize_t size) noexcept:
        cdef const uint8_t* key = <const uint8_t*><const char*>self.key
        cdef Py_ssize_t key_size = len(self.key)
        cdef const uint8_t* end = data + size - key_size + 1
        while data < end:
            data = <const uint8_t*>memchr(data, key[0], end - data)
            if data == NULL:
                return
            if memcmp(data, key, key_size) == 0:
                self.heard[host] += 1
                return
            data += 1

    def first_us(self, Py_ssize_t host) -> int:
        """Return when a host first saw the rumor, -1 if it has not."""
        return self.first[host] if 0 <= host < self.hosts else -1

    def copies(self) -> list[int]:
        """Return how many copies each host received, by host."""
        return [self.heard[i] for i in range(self.hosts)]

    def delays_us(self) -> list[int]:
        """Return the times from the start to the first sight, sorted, of all that have seen it."""
        return sorted([
            self.first[i] - self.start_us for i in range(self.hosts) if self.first[i] >= 0
        ])


cdef class Ledger:
    """The truth about a simulated network's members, and what their events say of each other.

    ``judge(viewer, life)`` tells whether a death that the ledger can't excuse by itself (by
    `excuse` or a partition that stands) is excused after all.
    """

    def __init__(self, object judge=None) -> None:
        self.judge = judge
        self.deaths = []
        self.spreads = []
        self.odd = ""
        self.slot_count = 64
        self.slots = <int64_t*>malloc(self.slot_count * sizeof(int64_t))
        if self.slots == NULL:
            raise MemoryError
        memset(self.slots, 0xFF, self.slot_count * sizeof(int64_t))

    def __dealloc__(self) -> None:
        cdef Py_ssize_t i
        if self.viewers != NULL:
            for i in range(self.hosts):
                free(self.viewers[i].row)
        free(self.viewers)
        free(self.persons)
        free(self.slots)

    # the truth, told by the simulator

    def add_life(self, Py_ssize_t host, bytes id, int ring) -> int:
        """Make a member id known that will run on `host`; return its number."""
        cdef Person* person
        cdef void* p
        cdef Py_ssize_t wanted
        if len(id) != 16:
            raise ValueError(f"id is {len(id)} bytes, must be 16")
        if self.lives == LIVES_MAX:
            raise MemoryError(f"there are {self.lives} lives, limit is {LIVES_MAX}")
        if self.find(<const uint8_t*><const char*>id) >= 0:
            raise ValueError(f"id {id.hex()} is known already")
        if self.lives == self.width:
            self._widen()
        if host >= self.viewer_room:
            wanted = max(64, 2 * self.viewer_room, host + 1)
            p = realloc(self.viewers, wanted * sizeof(Viewer))
            if p == NULL:
                raise MemoryError
            self.viewers = <Viewer*>p
            memset(&self.viewers[self.viewer_room], 0,
                   (wanted - self.viewer_room) * sizeof(Viewer))
            self.viewer_room = wanted
        if host >= self.hosts:
            self.hosts = host + 1
        if self.viewers[host].row == NULL:
            self.viewers[host].row = <uint8_t*>calloc(self.width, 1)
            if self.viewers[host].row == NULL:
                raise MemoryError
        person = &self.persons[self.lives]
        memset(person, 0, sizeof(Person))
        memcpy(person.id, <const char*>id, 16)
        person.host = <uint32_t>host
        person.ring = <uint32_t>ring
        person.ended_us = person.first_us = person.median_us = -1
        person.last_us = person.everybody_us = -1
        self.lives += 1
        if 2 * self.lives > self.slot_count:
            self._rehash()
        else:
            self._enter_slot(self.lives - 1)
        return self.lives - 1

    def begin(self, Py_ssize_t life, uint32_t epoch) -> None:
        """A process of this member starts, knowing nobody; it may have run before."""
        cdef Person* person
        cdef Viewer* viewer
        cdef Py_ssize_t other
        self._known(life)
        person = &self.persons[life]
        viewer = &self.viewers[person.host]
        self._absent(viewer)
        memset(viewer.row, 0, self.width)
        viewer.life = <uint32_t>life
        viewer.ring = person.ring
        viewer.cut_off = False
        person.running = True
        person.left = False
        person.epoch = epoch
        person.ended_us = person.first_us = person.median_us = -1
        person.last_us = person.everybody_us = -1
        self._column(life, True)
        viewer.present = True
        viewer.wrong = 0
        for other in range(self.hosts):
            if (
                other != <Py_ssize_t>person.host
                and self.viewers[other].present
                and self.viewers[other].ring == viewer.ring
                and self.viewers[other].group == viewer.group
            ):
                viewer.wrong += 1
        self.wrong += viewer.wrong

    def depart(self, Py_ssize_t life, int64_t now) -> None:
        """This member begins to leave: from now on nobody has to hold it alive."""
        cdef Person* person
        self._known(life)
        person = &self.persons[life]
        if person.running and not person.left:
            self._absent(&self.viewers[person.host])
            person.left = True
            person.ended_us = now
            person.aware = 0
            self._column(life, False)

    def end(self, Py_ssize_t life, int64_t now) -> None:
        """The process of this member is gone."""
        cdef Person* person
        self._known(life)
        person = &self.persons[life]
        if not person.running:
            return
        if not person.left:
            self._absent(&self.viewers[person.host])
            person.ended_us = now
            person.aware = 0
            self._column(life, False)
        person.running = False

    def excuse(self, Py_ssize_t life, int64_t until) -> None:
        """Let deaths of this member count as excused until then."""
        self._known(life)
        self.persons[life].excused_until = until

    def regroup(self, list groups) -> None:
        """Put the hosts into partitions: only members of one group have to hold each other."""
        cdef Py_ssize_t host, life
        cdef Viewer* viewer
        for host in range(min(self.hosts, <Py_ssize_t>len(groups))):
            self.viewers[host].group = groups[host]
        self.wrong = 0
        for host in range(self.hosts):
            viewer = &self.viewers[host]
            if not viewer.present:
                continue
            viewer.wrong = 0
            for life in range(self.lives):
                if life != <Py_ssize_t>viewer.life:
                    viewer.wrong += (
                        ((viewer.row[life] & HELD_FRESH) != 0) != self._truth(viewer, life)
                    )
            self.wrong += viewer.wrong

    def follow(self, int kind, bytes key, int64_t now) -> Spread:
        """Follow the rumors of this kind and key from now on."""
        cdef Spread spread = Spread(kind, key, now)
        if len(self.spreads) >= SPREADS_MAX:
            raise ValueError(f"{len(self.spreads)} rumors are followed, limit is {SPREADS_MAX}")
        spread.room(self.viewer_room)
        self.spreads.append(spread)
        return spread

    def unfollow(self, Spread spread) -> None:
        """Stop following; what was seen stays readable."""
        self.spreads.remove(spread)

    # questions

    def changes(self) -> dict:
        """Return how often each change was told, by `MemberChange`."""
        return {change: self.counts[number] for number, change in enumerate(_CHANGES)}

    def ending(self, Py_ssize_t life) -> Ending:
        """Return who knows that this member's process has ended, or is leaving."""
        cdef Person* p
        self._known(life)
        p = &self.persons[life]
        return Ending(p.ended_us, p.first_us, p.median_us,
                      p.last_us if p.ended_us >= 0 and p.unaware == 0 else -1, p.aware, p.unaware)

    def holders(self, Py_ssize_t life) -> int:
        """Return how many running members hold this one alive at its present epoch."""
        self._known(life)
        return self.persons[life].fresh

    def everybody_us(self, Py_ssize_t life) -> int:
        """Return when the last of those that had to came to hold this member alive; -1: not yet."""
        self._known(life)
        return self.persons[life].everybody_us

    def suspicions(self, Py_ssize_t life) -> tuple[int, int, int]:
        """Return how often members told of a suspicion, a refutation, a death of this one."""
        cdef Person* p
        self._known(life)
        p = &self.persons[life]
        return p.suspicions, p.refutations, p.deaths

    def missing(self, Py_ssize_t host) -> int:
        """Return in how many entries a host's view differs from the truth."""
        if not 0 <= host < self.hosts:
            raise IndexError(f"host is {host}, there are {self.hosts}")
        return self.viewers[host].wrong

    def cut_off(self, Py_ssize_t host) -> bool:
        """Return whether the member on a host says of itself that nobody answers it."""
        if not 0 <= host < self.hosts:
            raise IndexError(f"host is {host}, there are {self.hosts}")
        return self.viewers[host].cut_off

    def disagreeing(self, Py_ssize_t limit) -> list[int]:
        """Return up to `limit` hosts whose view differs from the truth."""
        cdef Py_ssize_t host
        found = []
        for host in range(self.hosts):
            if self.viewers[host].present and self.viewers[host].wrong:
                found.append(host)
                if len(found) == limit:
                    break
        return found

    def seen_by_all(self, Spread spread) -> bool:
        """Return whether every running member has seen a followed rumor."""
        cdef Py_ssize_t host
        for host in range(self.hosts):
            if self.viewers[host].present and (
                host >= spread.hosts or spread.first[host] < 0
            ):
                return False
        return True

    def tell(self, Py_ssize_t viewer, object event, int64_t now) -> None:
        """Take an event as a Python value, from a node of another kind."""
        cdef bytes id, key
        if not 0 <= viewer < self.hosts:
            return
        if isinstance(event, MemberEvent):
            if not event.member.local:
                id = event.member.id
                self.member(
                    <uint32_t>viewer, <const uint8_t*><const char*>id, _NUMBERS[event.change],
                    int(event.member.state), event.member.epoch, now
                )
        elif isinstance(event, RumorEvent):
            key = event.rumor.key
            self.rumor(
                <uint32_t>viewer, event.rumor.kind, <const uint8_t*><const char*>key, len(key), now
            )
        elif isinstance(event, SelfEvent):
            if event.what == "cut_off":
                self.viewers[viewer].cut_off = True
            elif event.what == "reachable":
                self.viewers[viewer].cut_off = False
            elif event.what == "events_dropped":
                self.overflows += 1

    # events, told by the engine

    cdef int see(self, uint32_t viewer, const EventRecord* record, int64_t now) except -1:
        """Take one event record of the node on a host."""
        if viewer >= self.hosts:
            return 0
        if record.what == EVENT_MEMBER:
            if not record.local:
                self.member(
                    viewer, record.id.octets, record.code, record.state, record.epoch, now
                )
        elif record.what == EVENT_RUMOR:
            if self.spreads:
                self.rumor(
                    viewer, record.rumor.kind, record.rumor.data, record.rumor.key_size, now
                )
        elif record.what == EVENT_SELF:
            if record.code == SELF_CUT_OFF:
                self.viewers[viewer].cut_off = True
            elif record.code == SELF_REACHABLE:
                self.viewers[viewer].cut_off = False
        return 0

    cdef int member(
        self, uint32_t viewer, const uint8_t* id, int change, int state, uint32_t epoch,
        int64_t now
    ) except -1:
        cdef int64_t life = self.find(id)
        cdef Person* person
        cdef uint8_t held, next
        self.counts[change] += 1
        self.now_us = now
        if life < 0 or self.persons[life].ring != self.viewers[viewer].ring:
            self.strangers += 1
            return 0
        person = &self.persons[life]
        held = self.viewers[viewer].row[life]
        if not legal(change, held & HELD_STATE):
            self.odd_changes += 1
            if not self.odd:
                self.odd = (
                    f"host {viewer} tells {_CHANGES[change].value} of host {person.host}, "
                    f"which it held in state {held & HELD_STATE} at {now / 1e6:.6f} s"
                )
        if change == CHANGE_FORGOTTEN:
            next = HELD_NONE
        else:
            next = <uint8_t>(state + 1)
            if state == 0 and epoch == person.epoch:
                next |= HELD_FRESH
        if change == CHANGE_SUSPECTED:
            person.suspicions += 1
        elif change == CHANGE_REFUTED:
            person.refutations += 1
        elif change == CHANGE_DIED:
            person.deaths += 1
            if person.running and not person.left and epoch >= person.epoch:
                self._death(viewer, life, now)
                person = &self.persons[life]
        elif change == CHANGE_RETURNED or change == CHANGE_JOINED:
            if not person.running and epoch == person.epoch:
                self.ghost_returns += 1
        self._put(viewer, life, next)
        return 0

    cdef int rumor(
        self, uint32_t viewer, int kind, const uint8_t* key, Py_ssize_t size, int64_t now
    ) except -1:
        cdef Spread spread
        for item in self.spreads:
            spread = <Spread>item
            if (
                spread.kind == kind and len(spread.key) == size
                and memcmp(<const char*>spread.key, key, size) == 0
            ):
                spread.room(self.viewer_room)
                if spread.first[viewer] < 0:
                    spread.first[viewer] = now
        return 0

    cdef int delivered(self, uint32_t host, const uint8_t* data, Py_ssize_t size) except -1:
        """Look for followed keys in a datagram that a process is about to read."""
        cdef Spread spread
        for item in self.spreads:
            spread = <Spread>item
            spread.room(self.viewer_room)
            if host < spread.hosts:
                spread.packet(host, data, size)
        return 0

    # inside

    cdef int _death(self, uint32_t viewer, int64_t life, int64_t now) except -1:
        cdef Person* person = &self.persons[life]
        cdef bint excused = (
            now < person.excused_until
            or self.viewers[viewer].group != self.viewers[person.host].group
        )
        cdef uint32_t host = person.host
        if not excused and self.judge is not None:
            excused = bool(self.judge(viewer, life))
        self.false_deaths += 1
        if not excused:
            self.healthy_deaths += 1
        if len(self.deaths) < DEATHS_MAX:
            self.deaths.append(Death(now, viewer, host, bool(excused)))
        return 0

    cdef void _put(self, uint32_t number, int64_t life, uint8_t held) noexcept:
        """Enter what a viewer holds of a life, and keep the counts."""
        cdef Viewer* viewer = &self.viewers[number]
        cdef Person* person = &self.persons[life]
        cdef uint8_t before = viewer.row[life]
        cdef bint fresh = (held & HELD_FRESH) != 0, was_fresh = (before & HELD_FRESH) != 0
        cdef bint live, was_live
        viewer.row[life] = held
        person.told = True
        if not viewer.present or viewer.life == <uint32_t>life:
            return
        if fresh != was_fresh:
            if fresh:
                person.fresh += 1
            else:
                person.fresh -= 1
            if fresh == self._truth(viewer, life):
                viewer.wrong -= 1
                self.wrong -= 1
                if fresh:
                    person.everybody_us = self.now_us
            else:
                viewer.wrong += 1
                self.wrong += 1
        live = is_live(held)
        was_live = is_live(before)
        if live == was_live:
            return
        if live:
            person.unaware += 1
            return
        person.unaware -= 1
        if person.ended_us >= 0:
            person.aware += 1
            if person.first_us < 0:
                person.first_us = self.now_us
            if person.median_us < 0 and person.aware >= person.unaware:
                person.median_us = self.now_us
            person.last_us = self.now_us

    cdef bint _truth(self, Viewer* viewer, int64_t life) noexcept:
        """Return whether a viewer has to hold this life alive."""
        cdef Person* person = &self.persons[life]
        return (
            person.running and not person.left
            and person.ring == viewer.ring
            and self.viewers[person.host].group == viewer.group
            and self.viewers[person.host].life == <uint32_t>life
        )

    cdef void _absent(self, Viewer* viewer) noexcept:
        """Take a viewer out of all counts: what it holds no longer matters."""
        cdef Py_ssize_t life
        if not viewer.present:
            return
        viewer.present = False
        self.wrong -= viewer.wrong
        viewer.wrong = 0
        for life in range(self.lives):
            if viewer.row[life] and life != <Py_ssize_t>viewer.life:
                if viewer.row[life] & HELD_FRESH:
                    self.persons[life].fresh -= 1
                if is_live(viewer.row[life]):
                    self.persons[life].unaware -= 1

    cdef void _column(self, int64_t life, bint present) noexcept:
        """The truth about a life changes: it starts (what is held is of another epoch), or ends."""
        cdef Person* person = &self.persons[life]
        cdef Viewer* viewer
        cdef Py_ssize_t host
        cdef bint fresh, mine
        for host in range(self.hosts):
            viewer = &self.viewers[host]
            if viewer.row == NULL or host == <Py_ssize_t>person.host:
                continue
            # Of a member that nobody was told of the column is empty: spare the cache.
            fresh = person.told and (viewer.row[life] & HELD_FRESH) != 0
            if present and fresh:
                viewer.row[life] &= <uint8_t>~HELD_FRESH
            if not viewer.present:
                continue
            mine = (
                viewer.ring == person.ring
                and viewer.group == self.viewers[person.host].group
            )
            if present:
                if fresh:
                    # Held alive after its end, until now: that was wrong already.
                    person.fresh -= 1
                    viewer.wrong -= 1
                    self.wrong -= 1
                if mine:
                    viewer.wrong += 1
                    self.wrong += 1
            elif mine:
                if fresh:
                    viewer.wrong += 1
                    self.wrong += 1
                else:
                    viewer.wrong -= 1
                    self.wrong -= 1

    cdef int64_t find(self, const uint8_t* id) noexcept:
        """Return the number of a member id, -1 if it is none of ours."""
        cdef Py_ssize_t mask = self.slot_count - 1
        cdef Py_ssize_t at = home(id) & mask
        while self.slots[at] >= 0:
            if memcmp(self.persons[self.slots[at]].id, id, 16) == 0:
                return self.slots[at]
            at = (at + 1) & mask
        return -1

    cdef void _enter_slot(self, Py_ssize_t life) noexcept:
        cdef Py_ssize_t mask = self.slot_count - 1
        cdef Py_ssize_t at = home(self.persons[life].id) & mask
        while self.slots[at] >= 0:
            at = (at + 1) & mask
        self.slots[at] = life

    cdef int _rehash(self) except -1:
        cdef Py_ssize_t life
        cdef int64_t* slots = <int64_t*>malloc(2 * self.slot_count * sizeof(int64_t))
        if slots == NULL:
            raise MemoryError
        free(self.slots)
        self.slots = slots
        self.slot_count *= 2
        memset(self.slots, 0xFF, self.slot_count * sizeof(int64_t))
        for life in range(self.lives):
            self._enter_slot(life)
        return 0

    cdef int _widen(self) except -1:
        """Make room for more lives in the persons and in every row."""
        cdef Py_ssize_t wanted = 2 * self.width if self.width else 16, host
        cdef void* p = realloc(self.persons, wanted * sizeof(Person))
        if p == NULL:
            raise MemoryError
        self.persons = <Person*>p
        for host in range(self.hosts):
            if self.viewers[host].row == NULL:
                continue
            p = realloc(self.viewers[host].row, wanted)
            if p == NULL:
                raise MemoryError
            self.viewers[host].row = <uint8_t*>p
            memset(self.viewers[host].row + self.width, 0, wanted - self.width)
        self.width = wanted
        return 0

    cdef int _known(self, Py_ssize_t life) except -1:
        if not 0 <= life < self.lives:
            raise IndexError(f"life is {life}, there are {self.lives}")
        return 0


cdef inline Py_ssize_t home(const uint8_t* id) noexcept:
    return <Py_ssize_t>((short_of(id) * <uint64_t>0x9E3779B97F4A7C15) >> 32)


cdef inline bint is_live(uint8_t held) noexcept:
    return (held & HELD_STATE) == HELD_ALIVE or (held & HELD_STATE) == HELD_SUSPECT


cdef bint legal(int change, int held) noexcept:
    """Whether a change may be told by who held this. Of a newer start anything may be the first
    that is heard, so a death or an end may repeat itself."""
    if change == CHANGE_JOINED:
        return held == HELD_NONE
    if change == CHANGE_SUSPECTED:
        return held == HELD_ALIVE
    if change == CHANGE_REFUTED:
        return held == HELD_SUSPECT
    if change == CHANGE_RETURNED or change == CHANGE_FORGOTTEN:
        return held == HELD_DEAD or held == HELD_LEFT
    if change == CHANGE_UPDATED:
        return held != HELD_NONE
    return change == CHANGE_DIED or change == CHANGE_LEFT
