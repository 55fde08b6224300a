"""What the C allocator keeps of memory that Python has given back (floor 7).

Importing the HTTP code leaves some 3.5 MB of freed but resident heap, and every thread may get an
arena of its own. A supervisor should be small on the smallest machine, so both are bounded here.
Only glibc needs it; elsewhere the calls do nothing.
"""

cdef extern from *:
    """
    #include <stdlib.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    static int sup_trim(void) { return malloc_trim(0); }
    static int sup_bound_arenas(int count) { return mallopt(M_ARENA_MAX, count); }
    #else
    static int sup_trim(void) { return 0; }
    static int sup_bound_arenas(int count) { (void)count; return 0; }
    #endif
    """
    int sup_trim() nogil
    int sup_bound_arenas(int count) nogil


def trim() -> bool:
    """Give freed heap back to the system; True when something was given. Takes milliseconds."""
    cdef int given
    with nogil:
        given = sup_trim()
    return given == 1


def bound_arenas(int count) -> bool:
    """Let all threads together use at most ``count`` (≥ 1) arenas; call before threads start."""
    return sup_bound_arenas(count) == 1
