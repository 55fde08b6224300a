"""Names of what a node counts. Every input that is dropped is counted under one of them."""

NAMES = (
    "packets_in",
    "bytes_in",
    "dropped_oversize",
    "dropped_malformed",
    "dropped_version",
    "dropped_foreign_ring",
    "dropped_own_echo",
    "unknown_sender",
    "unknown_member",
    "unknown_message",
    "evidence_refused",
    "card_refused",
    "table_full",
    "rumor_kind_refused",
    "rumor_quota_refused",
    "rumor_store_full",
    "rumor_stamp_refused",
    "rumor_stale",
    "refuted",
    "suspected",
    "declared_dead",
    "questions",
    "questions_refused",
    "requests_in",
    "requests_refused",
    "requests_out",
    "requests_failed",
    "requests_dropped",
    "gossip_ticks",
    "pings",
)


cdef class Tally:
    """The counts of one node; those who count share it."""
