"""What the log engine keeps per service and for its thread; see ``log_engine.pyx``."""

from libc.stdint cimport int64_t, uint64_t

from sup.launcher.log_stamp cimport STAMP_BYTES
from sup.launcher.log_stream cimport Stream
from sup.launcher.log_system cimport pthread_mutex_t, pthread_t


cdef enum:
    READ_BYTES = 65536        # one read: what a FIFO of the usual size holds
    READS_PER_TURN = 16       # of one service before another has its turn: 1 MiB
    READS_AT_END = 64         # when a service is closed or the engine stops: 4 MiB
    OUT_BYTES = 131072        # stamped lines on their way to a file
    EVENTS = 64
    STACK_BYTES = 131072
    REPORT_BYTES = 256


cdef struct Order:
    int kind
    Stream* stream
    uint64_t bytes_max
    uint64_t line_bytes_max
    int files
    Order* next


cdef struct Engine:
    int epoll
    int wake
    pthread_t thread
    pthread_mutex_t lock      # of the orders alone
    Order* first
    Order* last
    Stream* streams
    int refused               # streams whose disk refuses
    bint stopping
    int64_t stamp_s           # the second that ``stamp`` has
    char stamp[STAMP_BYTES]
    Py_ssize_t out_size
    char* data                # READ_BYTES
    char* out                 # OUT_BYTES


cdef class StreamHandle:
    cdef Stream* stream
    cdef str directory


cdef class LogEngine:
    cdef Engine* _engine
    cdef bint _running
    cdef bint _stopped
    cdef dict _streams
    cdef list _closing

    cdef int _order(
        self, int kind, Stream* stream, uint64_t bytes_max, uint64_t line_bytes_max, int files
    ) except -1
    cdef int _start(self) except -1
    cdef int _close_descriptors(self) except -1
    cdef _reap(self)
