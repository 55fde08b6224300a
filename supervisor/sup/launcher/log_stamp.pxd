"""The stamp of a log line: RFC 3339 in UTC with microseconds, always of the same width.

Leaf functions without Python objects or locks: they run in the thread of the log engine.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy


cdef enum:
    STAMP_BYTES = 28          # 2026-11-22T21:47:36.123456Z and what kind of piece follows

cdef extern from *:
    """
    #define SUP_LAST_SECOND INT64_C(253402300799)  /* of the year 9999 */
    """
    const int64_t LAST_SECOND "SUP_LAST_SECOND"


cdef inline void _digits(char* text, int64_t number, int width) noexcept nogil:
    while width > 0:
        width -= 1
        text[width] = <char> (c"0" + number % 10)
        number //= 10


cdef inline void write_seconds(char* text, int64_t seconds) noexcept nogil:
    """``2026-11-22T21:47:36.`` and the ``Z``; years 1970 to 9999, the proleptic calendar.

    Days are counted from 1 March of year 0, so that a leap day is the last of its year; 400 years
    have 146,097 days. (gmtime_r takes a lock and may read a file.)
    """
    cdef int64_t days, era, year, day, month
    seconds = min(max(seconds, <int64_t> 0), LAST_SECOND)
    days = seconds // 86400 + 719468
    era = days // 146097
    day = days - era * 146097
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= year * 365 + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    month = month + 3 if month < 10 else month - 9
    year += era * 400 + (1 if month <= 2 else 0)
    seconds %= 86400
    memcpy(text, b"0000-00-00T00:00:00.000000Z", STAMP_BYTES - 1)
    _digits(text, year, 4)
    _digits(text + 5, month, 2)
    _digits(text + 8, day + 1, 2)
    _digits(text + 11, seconds // 3600, 2)
    _digits(text + 14, seconds // 60 % 60, 2)
    _digits(text + 17, seconds % 60, 2)


cdef inline void write_micros(char* text, int64_t micros) noexcept nogil:
    _digits(text + 20, micros, 6)
