from libc.stdint cimport uint64_t

cdef enum:
    KIND_OWNER_FIRST = 1
    KIND_OWNER_LAST = 63
    KIND_WRITER_FIRST = 64
    KIND_WRITER_LAST = 127
    KIND_UNION_FIRST = 128
    KIND_UNION_LAST = 159
    KIND_MAXIMA_FIRST = 160
    KIND_MAXIMA_LAST = 191

cdef enum Rule:
    RULE_NONE = 0
    RULE_OWNER = 1
    RULE_WRITER = 2
    RULE_UNION = 3
    RULE_MAXIMA = 4

cpdef enum:
    SERVICE = 1
    CONFIG = 64

cdef inline Rule rule_of(uint64_t kind) noexcept nogil:
    if kind >= KIND_OWNER_FIRST and kind <= KIND_OWNER_LAST:
        return RULE_OWNER
    if kind >= KIND_WRITER_FIRST and kind <= KIND_WRITER_LAST:
        return RULE_WRITER
    if kind >= KIND_UNION_FIRST and kind <= KIND_UNION_LAST:
        return RULE_UNION
    if kind >= KIND_MAXIMA_FIRST and kind <= KIND_MAXIMA_LAST:
        return RULE_MAXIMA
    return RULE_NONE
