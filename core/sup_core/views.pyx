"""Python values of what the stores and the event queue hold in C. Copies; nothing refers back."""
from libc.stdint cimport int32_t, uint8_t, uint32_t
from sup_core.blobs cimport RumorBlob
from sup_core.card_pool cimport Card
from sup_core.cursor cimport (
    Reader,
    Writer,
    read_array,
    read_map,
    read_str,
    reader_init,
    write_array,
    write_map,
    write_str,
    writer_init,
)
from sup_core.event_queue cimport EVENT_MEMBER, EVENT_RUMOR, EventRecord
from sup_core.identity cimport address_bytes, address_text
from sup_core.kinds cimport RULE_OWNER, RULE_WRITER, rule_of
from sup_core.limits cimport (
    CARD_BYTES_MAX,
    NAME_BYTES_MAX,
    TAG_KEY_BYTES_MAX,
    TAG_VALUE_BYTES_MAX,
    TAGS_MAX,
)
from sup_core.member_table cimport MemberTable

from sup_core.errors import LimitError
from sup_core.event_queue import REASONS, SELF_NAMES
from sup_core.events import (
    Member,
    MemberChange,
    MemberEvent,
    MemberState,
    Rumor,
    RumorEvent,
    SelfEvent,
    Version,
)

_STATES = tuple(MemberState)
_CHANGES = tuple(MemberChange)


cdef str _text(const uint8_t* data, uint32_t size):
    # Remote text, which the codec took as UTF-8 only: nothing is raised for it in any case.
    return (<const char*> data)[:size].decode("utf-8", "replace")


cdef tuple _card_values(Card* card):
    # The card was checked by the codec before it was stored.
    cdef Reader r
    cdef uint32_t size = 0
    cdef uint32_t _i
    cdef uint32_t pairs
    cdef const uint8_t* data
    if card == NULL:
        return "", {}
    reader_init(&r, card.data, card.size)
    read_array(&r)
    data = read_str(&r, &size, NAME_BYTES_MAX)
    name = _text(data, size)
    tags = {}
    pairs = read_map(&r)
    for _i in range(pairs):
        data = read_str(&r, &size, TAG_KEY_BYTES_MAX)
        key = _text(data, size)
        data = read_str(&r, &size, TAG_VALUE_BYTES_MAX)
        tags[key] = _text(data, size)
    return name, tags


cdef bytes card_bytes(object name, object tags):
    """Encode a card in canonical order. Raises LimitError for what the bounds do not allow."""
    cdef uint8_t buffer[CARD_BYTES_MAX]
    cdef Writer w
    cdef bytes raw = name.encode()
    if not raw or len(raw) > NAME_BYTES_MAX:
        raise LimitError(f"name {name!r} is {len(raw)} bytes, allowed are 1..{NAME_BYTES_MAX}")
    if len(tags) > TAGS_MAX:
        raise LimitError(f"there are {len(tags)} tags, limit is {TAGS_MAX}")
    writer_init(&w, buffer, CARD_BYTES_MAX)
    write_array(&w, 2)
    write_str(&w, <const uint8_t*> (<const char*> raw), <uint32_t> len(raw))
    write_map(&w, <uint32_t> len(tags))
    for key in sorted(tags):
        for what, text, limit in (
            ("tag", key, TAG_KEY_BYTES_MAX), ("value of a tag", tags[key], TAG_VALUE_BYTES_MAX)
        ):
            raw = text.encode()
            if len(raw) > limit:
                raise LimitError(f"{what} is {len(raw)} bytes, limit is {limit}")
            write_str(&w, <const uint8_t*> (<const char*> raw), <uint32_t> len(raw))
    if w.full:
        raise LimitError(f"name and tags are over {CARD_BYTES_MAX} bytes together")
    return (<const char*> buffer)[:w.size]


cdef str short_text(object number):
    return f"{number:016x}"


cdef object member_view(MemberTable table, int32_t row):
    """The ``Member`` of a shown row."""
    name, tags = _card_values(table.cards[row])
    return Member(
        id=(<const char*> table.id_of(row))[:16],
        name=name,
        address=address_bytes(table.address(row)),
        state=_STATES[table.states[row]],
        epoch=table.epochs[row],
        incarnation=table.incarnations[row],
        since_us=table.since(row),
        tags=tags,
        version=table.version(row),
        local=row == 0,
    )


cdef object version_view(const RumorBlob* blob):
    """The ``Version`` of a stored rumor."""
    kind = rule_of(blob.kind)
    if kind == RULE_OWNER:
        return Version(blob.a, blob.b, b"")
    content = (<object> blob.value_hash).to_bytes(8, "big")
    if kind == RULE_WRITER:
        return Version(blob.a, blob.b, (<const char*> blob.origin)[:16] + content)
    return Version(blob.a, blob.b, content)


cdef object rumor_view(const RumorBlob* blob):
    """The ``Rumor`` of a stored one."""
    value = None
    if not blob.tombstone:
        value = (<const char*> blob.data + blob.key_size)[:blob.value_size]
    return Rumor(
        kind=blob.kind,
        key=(<const char*> blob.data)[:blob.key_size],
        origin=(<const char*> blob.origin)[:16],
        version=version_view(blob),
        value=value,
    )


cdef object event_view(EventRecord* record):
    """The event of a record."""
    if record.what == EVENT_RUMOR:
        return RumorEvent(
            rumor_view(record.rumor),
            version_view(record.previous) if record.previous != NULL else None,
        )
    if record.what == EVENT_MEMBER:
        name, tags = _card_values(record.card)
        why = REASONS[<int> record.reason]
        if record.other:
            why = f"{why} by {short_text(record.other)}"
        return MemberEvent(
            _CHANGES[record.code],
            Member(
                id=(<const char*> record.id.octets)[:16],
                name=name,
                address=address_bytes(&record.address),
                state=_STATES[record.state],
                epoch=record.epoch,
                incarnation=record.incarnation,
                since_us=record.since,
                tags=tags,
                version=record.version,
                local=bool(record.local),
            ),
            why,
        )
    detail = ""
    if record.address.port:
        detail = f"from {address_text(&record.address)}"
    if record.other:
        # Small numbers are epochs or kinds, large ones short ids and ring hashes.
        number = short_text(record.other) if record.other >> 32 else str(record.other)
        detail = f"{number} {detail}".strip()
    return SelfEvent(SELF_NAMES[record.code], detail)
