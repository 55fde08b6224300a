"""What one node occupies, by part, in bytes that were asked for.

Reads the fields of all parts; decides nothing and changes nothing. What the allocator adds (8 to
24 bytes a block, and what it holds back) is not in it, and neither are the cards: they belong to
a pool that nodes may share (``CardPool.memory_bytes``). Never used by a member of a ring.
"""
from libc.stdint cimport int32_t, uint64_t
from sup_core.blobs cimport RumorBlob
from sup_core.dissemination cimport Item
from sup_core.effects cimport Effect
from sup_core.event_queue cimport EventRecord
from sup_core.failure_detector cimport Probe, Relay
from sup_core.hash_index cimport HashIndex
from sup_core.membership cimport WhyRing
from sup_core.node cimport Node
from sup_core.outbox cimport Parcel
from sup_core.pulls cimport Pull
from sup_core.rumor_store cimport Entry, Quota
from sup_core.seeds cimport Seed
from sup_core.suspicion cimport Suspect
from sup_core.timers cimport Timer

cdef enum:
    _COLLECTED = 16         # the collector's header before an object


cdef uint64_t _index(HashIndex index):
    return (index.mask + 1) * (sizeof(uint64_t) + sizeof(int32_t)) if index.mask else 0


def memory_of(node: Node) -> dict[str, int]:
    """Bytes by part; their sum is the node's own share of the process."""
    cdef Node n = node
    cdef int32_t i
    cdef RumorBlob* blob
    cdef Parcel* parcel = n.outbox.first
    cdef uint64_t rumors = _index(n.store.index) + _index(n.store.origins)
    cdef uint64_t datagrams = 0
    rumors += n.store.capacity * (sizeof(Entry) + sizeof(int32_t))
    rumors += n.store.quota_capacity * (sizeof(Quota) + sizeof(int32_t))
    for i in range(n.store.slots):
        blob = n.store.entries[i].blob
        if blob != NULL:
            rumors += sizeof(RumorBlob) + blob.key_size + blob.value_size
    while parcel != NULL:
        datagrams += sizeof(Parcel) + parcel.size
        parcel = parcel.following
    objects = (
        n, n.prng, n.timers, n.table, n.store, n.store.index, n.store.origins, n.outbox, n.events,
        n.effects, n.detector, n.suspicion, n.suspicion.index, n.health, n.dissemination,
        n.anti_entropy, n.pulls, n.stamps, n.packets, n.notices, n.membership,
        n.membership.whys_of, n.rumor_rules, n.exchanges, n.exchanges.queue, n.exchanges.waiting,
        n.tally, n.seeds, n.doubts,
    )
    return {
        "members": n.table.block_bytes(),
        "round": n.detector.order_capacity * sizeof(n.detector.order[0]),
        "probes": n.detector.probe_capacity * sizeof(Probe)
        + n.detector.relay_capacity * sizeof(Relay),
        "suspicions": n.suspicion.capacity * (sizeof(Suspect) + sizeof(int32_t))
        + _index(n.suspicion.index),
        "reasons": n.membership.whys_capacity * sizeof(WhyRing) + _index(n.membership.whys_of),
        "news": (n.dissemination.lanes[0].capacity + n.dissemination.lanes[1].capacity)
        * sizeof(Item),
        "rumors": rumors,
        "pulls": n.pulls.capacity * sizeof(Pull),
        "timers": n.timers.capacity * sizeof(Timer),
        "events": n.events.capacity * sizeof(EventRecord) + n.events.held,
        "effects": n.effects.capacity * sizeof(Effect),
        "datagrams": datagrams,
        "requests": sum(entry[2].__sizeof__() for entry in n.exchanges.queue),
        "seeds": n.seeds.capacity * sizeof(Seed),
        "objects": sum(part.__sizeof__() + _COLLECTED for part in objects),
    }
