"""Rumor kinds: the number of a kind names its merge rule, so that a member relays kinds it does
not know.

- 1..63 *owner*: only the origin writes; the store key is (kind, key, origin), the version (epoch,
  sequence).
- 64..127 *last writer*: anybody writes; the store key is (kind, key), the version a hybrid
  logical clock stamp, then the writer's id, then the hash of the content: a total order.
- 128..159 *union*: values are bit sets, merged by OR (a grow-only set of small numbers).
- 160..191 *maxima*: values are big-endian 64-bit counters, merged by the larger one (a version
  vector).

All four merges are associative, commutative and idempotent. Other numbers are dropped and
counted.
"""


def rule(kind: int) -> str:
    """Name the merge rule of a kind: ``owner``, ``last_writer``, ``union``, ``maxima`` or ``none``.
    """
    if kind < 0 or kind > 191:
        return "none"
    return ("none", "owner", "last_writer", "union", "maxima")[<int> rule_of(<uint64_t> kind)]
