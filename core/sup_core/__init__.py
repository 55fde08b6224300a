"""The gossip core: a sans-IO state machine for membership, failure detection and rumors.

Nothing here opens a socket, reads a clock, starts a thread, logs or draws its own random numbers:
time, bytes and the seed come in, effects go out (design: quinn-proto, foca, etcd/raft). The
layering of the modules is listed in ARCHITECTURE.md and enforced by ``tests/source``.
"""
