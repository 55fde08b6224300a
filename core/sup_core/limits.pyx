"""The bounds of the gossip core, each with its reason. Nothing here is tunable; what is lives in
``config``.

A bound that a remote sender can reach is counted and the input dropped; a bound that the local
caller can reach raises ``ValueError`` with the value and the bound.

- ``DATAGRAM_BYTES_MAX``: the node's share of a datagram. With the 8 bytes of the edge's tag it is
  1400 on the wire: below the 1500 of Ethernet with room for IPv6, UDP and the 25 bytes of a seal.
- ``AMPLIFICATION_MAX``: an answer to an address that a stranger claims is at most this many times
  as long as what came, so that a ring is no lever for a flood at somebody else. A request to join
  is padded to ``JOIN_BYTES_MIN``, a third of the longest welcome.
- ``STREAM_BYTES_MAX``: 40,000 entries of 100 bytes; a bigger difference takes several exchanges.
- ``SNAPSHOT_BYTES_MAX``: all rumors and all cards, each at its bound.
- ``MEMBERS_MAX``: full views stop being sensible long before; bounds what forged cards can
  occupy, and a row fits 16 bits.
- ``CARD_BYTES_MAX``: a card and a packet header always fit one datagram, with an address and a
  status.
- ``INLINE_BYTES_MAX``: with the longest key a rumor of this size fits one datagram; above it a
  header is gossiped and the body pulled by stream.
- ``RUMORS_MAX``: eight per member of a ring of 8,000; a slot fits 16 bits.
- ``ORIGIN_*``: what one member may occupy in everybody's store; a runaway owner starves only
  itself.
- ``ORPHAN*_MAX``: owner rumors whose owner is not in the member table. Honest ones overtake their
  owner's card by a moment; they wait a minute for it and are collected.
- ``FLAPS_MAX``: members whose returns are counted at once. Returns that come in numbers are not
  counted, so this many go and come one by one within ten minutes.
- ``PROBES_MAX``: one new probe a second and twenty questions, each three seconds at most.
- ``RELAYS_MAX``: indirect probes that this member runs for others at once; above it nobody is
  answered.
- ``TRANSMIT_QUEUE_MAX``: about 6 MB; a driver drains after every input, so only a broken one gets
  there.
- ``EVENT_QUEUE_MAX``: one event for each member there can be; an overflow is told by a
  ``SelfEvent``.
- ``EVENT_BYTES_MAX``: what unread events may keep of rumors and cards that are no longer held.
- ``TIMERS_MAX``: four for each member there can be; the last ``TIMERS_RESERVED`` are for the node's
  own rhythm, which no flood may stop.
- ``REQUESTS_MAX``: stream exchanges in flight at once.
- ``CONTACTS_MAX``: addresses in a welcome: with the longest card they fit its share.
- ``SNAPSHOT_*``: what one member gives newcomers: one largest snapshot at once, then a megabyte a
  second. A newcomer that is refused asks somebody else.
- ``YOUNG_S_MAX``: an exchange shows a member that its teller has known for at most this long,
  without asking it first: far less than any tombstone floor, so it is no ghost.
- ``BUCKETS``: 128 hashes of 8 bytes are one datagram.
- ``NESTING_MAX``: depth of unknown values that ``skip`` walks; bounds the C stack.
- ``INCARNATION_JUMP_MAX``: a member raises its incarnation once per refutation; a forged maximum
  could never be refuted, so a larger jump than this is not believed. ``EPOCH_JUMP_MAX`` is the
  same for starts.
- ``HEALTH_SCORE_MAX``: Lifeguard's S = 8 (Dadgar et al. 2017, section IV-A).

The worst case of one node, everything at its bound at once: members 65,535 × 1.1 KB (rows, cards,
reasons) = 72 MB; rumors 64 MiB and 5 MB of indices; events 9 MB of records and 32 MiB; timers
6 MB; unsent datagrams 6 MB; probes, relays, pulls and seeds below 0.2 MB: under 200 MB, and on top
REQUESTS_MAX bodies of at most STREAM_BYTES_MAX while a driver does not take them. A sender who
knows the ring's name can fill members (until the tombstone floor) and last-writer rumors (for
good); owner rumors without an owner go by themselves.
"""
