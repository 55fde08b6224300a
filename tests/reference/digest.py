"""Eight bytes for all that is held: SipHash-1-3 (Aumasson and Bernstein 2012) and sums of it.

Every entry is hashed with the ring's number as key; a bucket is the sum of its entries modulo 2^64,
the digest the sum of the buckets. Two members that count the same entries say the same number,
whatever the order they learnt them in.
"""

from __future__ import annotations

import struct

MASK = (1 << 64) - 1
BUCKETS = 128


def sip_hash(key0: int, key1: int, data: bytes) -> int:
    """SipHash with one round per block and three at the end."""
    v0, v1 = key0 ^ 0x736F6D6570736575, key1 ^ 0x646F72616E646F6D
    v2, v3 = key0 ^ 0x6C7967656E657261, key1 ^ 0x7465646279746573

    def rotate(x: int, by: int) -> int:
        return (x << by | x >> (64 - by)) & MASK

    def sip_round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
        v0, v2 = (v0 + v1) & MASK, (v2 + v3) & MASK
        v1, v3 = rotate(v1, 13) ^ v0, rotate(v3, 16) ^ v2
        v0 = rotate(v0, 32)
        v2, v0 = (v2 + v1) & MASK, (v0 + v3) & MASK
        v1, v3 = rotate(v1, 17) ^ v2, rotate(v3, 21) ^ v0
        return v0, v1, rotate(v2, 32), v3

    whole = len(data) // 8 * 8
    last = data[whole:].ljust(7, b"\0") + bytes([len(data) & 255])
    for at in range(0, whole + 8, 8):
        block = data[at : at + 8] if at < whole else last
        word = int.from_bytes(block, "little")
        v0, v1, v2, v3 = sip_round(v0, v1, v2, v3 ^ word)
        v0 ^= word
    v2 ^= 0xFF
    for _ in range(3):
        v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


def bucket_of(name: int) -> int:
    """Where an entry counts: the top seven bits of its name, multiplied by 2^64 / phi."""
    return (name * 0x9E3779B97F4A7C15 & MASK) >> 57


def member_hash(ring: int, id: bytes, epoch: int, version: int, state: int) -> int:
    """What a member adds; ``state`` is alive, dead or left: suspicions and incarnations are not
    part of it."""
    return sip_hash(ring, 1, id + struct.pack("<QQQ", epoch, version, state))


def rumor_name(ring: int, kind: int, key: bytes, owner: bytes) -> int:
    """The name of a store key; ``owner`` is empty for kinds that anybody writes."""
    return sip_hash(ring, ~ring & MASK, bytes([kind]) + key + owner)


def rumor_hash(ring: int, name: int, a: int, b: int, content: int, tombstone: bool) -> int:
    """What a rumor adds."""
    words = struct.pack("<QQQQQ", name, a, b, content, tombstone)
    return sip_hash(ring, ~ring & MASK, words)
