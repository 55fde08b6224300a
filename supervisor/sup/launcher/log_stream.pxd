"""One service's log in C: its numbers, its file and the files that were rotated away.

Leaf functions of the log engine's thread, without Python objects or locks. Those that can fail
return an errno, or 0.
"""

from libc.errno cimport EINVAL, ENOENT, errno
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memchr

from sup.launcher.log_stamp cimport STAMP_BYTES
from sup.launcher.log_system cimport (
    O_APPEND, O_CLOEXEC, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDWR, S_ISREG, close, count,
    file_stat, fstat, ftruncate, mkdir, open_file, pread, rename, set_errno, set_flag, snprintf,
    unlink, write,
)


cdef enum:
    PATH_BYTES_MAX = 4000     # below PATH_MAX, with room for a number
    FILES_MAX = 100           # as the engine's FILES_RANGE has it


cdef struct Stream:
    # One service: its FIFO and its file. Only the engine's thread touches it once it is added,
    # but for the counters and ``closed``.
    int pipe
    int file                  # -1 while there is none
    char* directory
    char* path                # of the current file
    uint64_t size             # of it
    uint64_t bytes_max
    uint64_t line_bytes_max
    int files
    bint in_line              # the service is within a line
    bint torn                 # the file's last line has no end and will not be gone on with
    bint piece_open           # the last line of the file has no end yet
    uint64_t piece_bytes      # of it, without the stamp
    # While the disk refuses:
    int refusal               # errno, 0 when all is well
    int64_t refused_at        # monotonic µs
    int64_t retry_at
    int64_t backoff_us
    uint64_t gap_lines        # dropped since the last report
    uint64_t gap_bytes
    # Counters:
    uint64_t lines
    uint64_t bytes
    uint64_t dropped_lines
    uint64_t dropped_bytes
    uint64_t rotations
    int problem               # a copy of ``refusal`` for others
    int closed
    Stream* next


cdef inline int open_log(Stream* stream) noexcept nogil:
    """Open the log for appending, made if need be; an errno or 0."""
    cdef file_stat status
    cdef char last = c"\n"
    cdef int flags = O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK
    cdef int fd = open_file(stream.path, flags, 0o640)
    if fd < 0 and errno == ENOENT:
        if mkdir(stream.directory, 0o750) < 0:
            return errno
        fd = open_file(stream.path, flags, 0o640)
    if fd < 0:
        return errno
    if fstat(fd, &status) < 0 or not S_ISREG(status.st_mode):
        close(fd)
        return EINVAL
    if stream.file >= 0:
        close(stream.file)
    stream.file = fd
    stream.size = status.st_size
    stream.piece_open = False
    stream.torn = (
        stream.size > 0 and pread(fd, &last, 1, stream.size - 1) == 1 and last != c"\n"
    )
    return 0


cdef inline int rotate_log(Stream* stream) noexcept nogil:
    """NAME.log becomes NAME.log.1 and so on; the last one goes. Returns an errno or 0.

    So do those beyond it, of a time when there were to be more.
    """
    cdef char source[PATH_BYTES_MAX + 16]
    cdef char target[PATH_BYTES_MAX + 16]
    cdef int number = stream.files - 1
    if number == 0:
        if unlink(stream.path) < 0 and errno != ENOENT:
            return errno
    while number > 0:
        snprintf(target, sizeof(target), b"%s.%d", stream.path, number)
        number -= 1
        if number == 0:
            snprintf(source, sizeof(source), b"%s", stream.path)
        else:
            snprintf(source, sizeof(source), b"%s.%d", stream.path, number)
        if rename(source, target) < 0 and errno != ENOENT:
            return errno
    for number in range(stream.files, FILES_MAX):
        snprintf(target, sizeof(target), b"%s.%d", stream.path, number)
        if unlink(target) < 0:
            break
    count(&stream.rotations, 1)
    return open_log(stream)


cdef inline void close_stream(Stream* stream) noexcept nogil:
    if stream.pipe >= 0:
        close(stream.pipe)
    if stream.file >= 0:
        close(stream.file)
    stream.pipe = stream.file = -1
    set_flag(&stream.closed, 1)


cdef inline Py_ssize_t keep_lines(
    Stream* stream, const char* out, Py_ssize_t written, int code
) noexcept nogil:
    """Cut a torn line off the file; returns how much of ``out`` stays. Leaves ``errno``."""
    cdef Py_ssize_t kept = written
    while kept > 0 and out[kept - 1] != c"\n":
        kept -= 1
    if kept == 0:
        kept = written  # the begin of this line was written before: it stays as it is
    elif kept < written and ftruncate(stream.file, stream.size - (written - kept)) == 0:
        stream.size -= written - kept
    set_errno(code)
    return kept


cdef inline int write_report(Stream* stream, const char* report, Py_ssize_t size) noexcept nogil:
    """Write a line of ours that begins with a newline, which only a torn line before it needs."""
    cdef Py_ssize_t written
    cdef int code
    if not stream.torn:
        report += 1
        size -= 1
    written = write(stream.file, report, size)
    if written == size:
        stream.size += size
        stream.torn = False
        return 0
    code = errno
    if written > 0:
        # A page had room for some of it. The next write would say why not for the rest.
        ftruncate(stream.file, stream.size)
        code = stream.refusal
    return code


cdef inline uint64_t lines_of(const char* data, Py_ssize_t size) noexcept nogil:
    cdef const char* end = data + size
    cdef const char* at = data
    cdef uint64_t lines = 0
    while at < end:
        at = <const char*> memchr(at, c"\n", end - at)
        if at == NULL:
            break
        at += 1
        lines += 1
    return lines


cdef inline void count_drop(Stream* stream, uint64_t lines, uint64_t size) noexcept nogil:
    stream.gap_lines += lines
    stream.gap_bytes += size
    count(&stream.dropped_lines, lines)
    count(&stream.dropped_bytes, size)


cdef inline void drop_input(Stream* stream, const char* data, Py_ssize_t size) noexcept nogil:
    """Count input that nobody will read."""
    cdef uint64_t lines = lines_of(data, size)
    if size > 0:
        stream.in_line = data[size - 1] != c"\n"
        count(&stream.lines, lines)
        count_drop(stream, lines, size)


cdef inline void drop_stamped(Stream* stream, const char* data, Py_ssize_t size) noexcept nogil:
    """The same for what has its stamps already; every line that begins here has one."""
    cdef uint64_t lines = lines_of(data, size)
    cdef int64_t stamps = lines
    if size > 0:
        if data[size - 1] != c"\n":
            stamps += 1
        count_drop(stream, lines, max(0, size - stamps * STAMP_BYTES))
