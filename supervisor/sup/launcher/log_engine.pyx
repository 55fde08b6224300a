# cython: auto_pickle=False, autotestdict=False
"""The logs of all services of one launcher: FIFOs in, stamped and rotated files out (floor 7).

One C thread reads the FIFOs through epoll and writes; it never takes Python's lock and makes no
object per line. A service holds its FIFO open for reading and writing (as stdout and stderr), so it
gets no SIGPIPE when this process dies, and what the FIFO holds waits for the next engine.

A line of the file is ``2026-11-22T21:47:36.123456Z``, one character, and the text. The character is
a space; ``+`` when the text goes on with the line before (it was longer than ``line_bytes_max``, or
another engine had begun it); ``!`` when the words are ours. A line is written as far as it has come
(a prompt shows at once), so nothing of it waits in memory and a killed engine takes nothing along
but what it held in its hands that moment. Stamps are the wall clock's and go back when it does.

While the disk refuses (full, read-only, failing, no permission), lines are read, counted and
dropped, for a service must not wait for its log; the file is tried again with backoff, and the
first line after a gap says how much is missing and why. A slow disk does slow the services down,
all of them: that is the price of one thread.
"""

cimport cython
from libc.errno cimport EINTR, EINVAL, errno
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcpy, strdup, strerror

from sup.launcher.log_stamp cimport STAMP_BYTES, write_micros, write_seconds
from sup.launcher.log_stream cimport (
    PATH_BYTES_MAX, Stream, close_stream, drop_input, drop_stamped, keep_lines, open_log,
    rotate_log, write_report,
)
from sup.launcher.log_system cimport (
    CLOCK_MONOTONIC, CLOCK_REALTIME, EFD_CLOEXEC, EFD_NONBLOCK, EPOLL_CLOEXEC, EPOLL_CTL_ADD,
    EPOLL_CTL_DEL, EPOLLIN, F_SETPIPE_SZ, clock_us, close, count, counter, epoll_create1, epoll_ctl,
    epoll_event, epoll_wait, eventfd, file_stat, flag, fstat, join_thread, pthread_mutex_destroy,
    pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock, read, set_flag,
    set_pipe_size, snprintf, start_thread, write,
)

import os
import stat

BYTES_MAX = 10 * 1024 * 1024
FILES = 3
LINE_BYTES_MAX = 16 * 1024
BYTES_MAX_RANGE = (16 * 1024, 1 << 40)
FILES_RANGE = (1, 100)
LINE_BYTES_MAX_RANGE = (128, 1024 * 1024)
STREAMS_MAX = 4096
STOP_SECONDS = 5.0
PIPE = ".pipe"
# Anybody who has come to hold it may open it again for writing (a program that opens /dev/stdout
# after it gave up root); the directory keeps others away from the name.
PIPE_MODE = 0o622
PIPE_BYTES = 256 * 1024          # an unprivileged user may have 64 MiB in all pipes together
PIPE_BYTES_PRIVILEGED = 1024 * 1024
DIRECTORY_MODE = 0o750

cdef int64_t BACKOFF_MIN_US = 250_000
cdef int64_t BACKOFF_MAX_US = 8_000_000
cdef int64_t BACKOFF_RESET_US = 60_000_000  # a disk that was well for so long starts anew

cdef enum:
    ADD = 1
    RENEW = 2
    BOUND = 3
    CLOSE = 4
    REOPEN = 5
    STOP = 6


@cython.final
cdef class LogEngine:
    """Writes the logs of any number of services. See ``log_engine.pyi`` for the interface."""

    def __cinit__(self):
        self._streams = {}
        self._closing = []
        self._engine = <Engine*> calloc(1, sizeof(Engine))
        if self._engine == NULL:
            raise MemoryError
        self._engine.epoll = self._engine.wake = -1
        pthread_mutex_init(&self._engine.lock, NULL)
        self._engine.data = <char*> malloc(READ_BYTES)
        self._engine.out = <char*> malloc(OUT_BYTES)
        if self._engine.data == NULL or self._engine.out == NULL:
            raise MemoryError

    def open(self, target, pid=0):
        cdef Stream* stream
        cdef StreamHandle handle
        if self._stopped:
            raise RuntimeError("the log engine has stopped")
        name, directory = target.name, os.fspath(target.directory)
        files, line_bytes_max = target.files, target.line_bytes_max
        max_bytes = min(target.max_bytes, BYTES_MAX_RANGE[1])
        _check(name, directory, max_bytes, files, line_bytes_max)
        line_bytes_max = min(line_bytes_max, max_bytes // 2)
        self._start()
        self._reap()
        handle = self._streams.get(name)
        if handle is not None and handle.directory != directory:
            self.close(name)
            handle = None
        if handle is not None:
            output = _write_end(handle.stream.pipe)
            self._order(
                BOUND if pid else RENEW, handle.stream, max_bytes, line_bytes_max, files
            )
            return output
        if len(self._streams) + len(self._closing) >= STREAMS_MAX:
            raise ValueError(f"{STREAMS_MAX} logs are open; close some")
        pipe = _open_pipe(directory, pid)
        output = -1
        try:
            output = _write_end(pipe)
            handle = _new_handle(name, directory)
        except BaseException:
            os.close(pipe)
            if output >= 0:
                os.close(output)
            raise
        stream = handle.stream
        stream.pipe = pipe
        stream.bytes_max = max_bytes
        stream.files = files
        stream.line_bytes_max = line_bytes_max
        stream.in_line = pid != 0
        self._streams[name] = handle
        self._order(ADD, stream, 0, 0, 0)
        return output

    def close(self, name):
        cdef StreamHandle handle = self._streams.pop(name, None)
        if handle is None or not self._running:
            return
        self._closing.append(handle)
        self._order(CLOSE, handle.stream, 0, 0, 0)
        self._reap()

    def reopen(self):
        if self._running:
            self._order(REOPEN, NULL, 0, 0, 0)

    def tally(self):
        cdef StreamHandle handle
        cdef Stream* stream
        self._reap()
        found = {}
        for name, handle in self._streams.items():
            stream = handle.stream
            problem = flag(&stream.problem)
            found[name] = (
                counter(&stream.lines), counter(&stream.bytes),
                counter(&stream.dropped_lines), counter(&stream.dropped_bytes),
                counter(&stream.rotations), os.strerror(problem) if problem else "",
            )
        return found

    def stop(self, timeout_s=STOP_SECONDS):
        cdef double seconds = timeout_s
        cdef int result
        self._stopped = True
        if not self._running:
            return True
        self._order(STOP, NULL, 0, 0, 0)
        with nogil:
            result = join_thread(self._engine.thread, seconds)
        if result != 0:
            return False
        self._running = False
        self._close_descriptors()
        return True

    cdef int _start(self) except -1:
        """No thread and no descriptor before the first log."""
        cdef Engine* engine = self._engine
        cdef epoll_event event
        cdef int result
        if self._running:
            return 0
        self._close_descriptors()
        engine.stamp_s = -1
        engine.epoll = epoll_create1(EPOLL_CLOEXEC)
        engine.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if engine.epoll < 0 or engine.wake < 0:
            raise OSError(errno, os.strerror(errno))
        event.events = EPOLLIN
        event.data.ptr = NULL
        if epoll_ctl(engine.epoll, EPOLL_CTL_ADD, engine.wake, &event) < 0:
            raise OSError(errno, os.strerror(errno))
        result = start_thread(&engine.thread, _run, engine, STACK_BYTES)
        if result != 0:
            raise OSError(result, os.strerror(result))
        self._running = True
        return 0

    cdef int _order(
        self, int kind, Stream* stream, uint64_t bytes_max, uint64_t line_bytes_max, int files
    ) except -1:
        cdef Order* order = <Order*> calloc(1, sizeof(Order))
        cdef uint64_t one = 1
        if order == NULL:
            raise MemoryError
        order.kind = kind
        order.stream = stream
        order.bytes_max = bytes_max
        order.line_bytes_max = line_bytes_max
        order.files = files
        pthread_mutex_lock(&self._engine.lock)
        if self._engine.last == NULL:
            self._engine.first = order
        else:
            self._engine.last.next = order
        self._engine.last = order
        pthread_mutex_unlock(&self._engine.lock)
        write(self._engine.wake, &one, sizeof(one))
        return 0

    cdef int _close_descriptors(self) except -1:
        if self._engine.epoll >= 0:
            close(self._engine.epoll)
        if self._engine.wake >= 0:
            close(self._engine.wake)
        self._engine.epoll = self._engine.wake = -1
        return 0

    cdef _reap(self):
        cdef StreamHandle handle
        if self._closing:
            self._closing = [
                handle for handle in self._closing if not flag(&handle.stream.closed)
            ]

    def __dealloc__(self):
        cdef Engine* engine = self._engine
        if engine == NULL:
            return
        if self._running and not self.stop():
            return  # the thread still uses all of it: a leak is better than a crash
        self._close_descriptors()
        _forget_orders(engine.first)
        pthread_mutex_destroy(&engine.lock)
        free(engine.data)
        free(engine.out)
        free(engine)


@cython.final
cdef class StreamHandle:
    """Owns one ``Stream``; the engine holds it until the thread has let go."""

    def __dealloc__(self):
        if self.stream != NULL:
            if not flag(&self.stream.closed):
                close_stream(self.stream)
            free(self.stream.directory)
            free(self.stream.path)
            free(self.stream)


def stamp_of(wall_us):
    """The 27 characters that a line written at ``wall_us`` (µs since 1970, UTC) begins with."""
    cdef char text[STAMP_BYTES]
    cdef int64_t at = wall_us
    write_seconds(text, at // 1000000)
    write_micros(text, at % 1000000)
    return text[:STAMP_BYTES - 1].decode()


cdef StreamHandle _new_handle(str name, str directory):
    cdef StreamHandle handle = StreamHandle()
    cdef bytes folder = os.fsencode(directory)
    cdef bytes path = os.fsencode(os.path.join(directory, f"{name}.log"))
    if len(path) > PATH_BYTES_MAX:
        raise ValueError(f"log path is {len(path)} bytes, limit is {PATH_BYTES_MAX}")
    handle.directory = directory
    handle.stream = <Stream*> calloc(1, sizeof(Stream))
    if handle.stream == NULL:
        raise MemoryError
    handle.stream.pipe = handle.stream.file = -1
    handle.stream.backoff_us = BACKOFF_MIN_US
    handle.stream.directory = strdup(folder)
    handle.stream.path = strdup(path)
    if handle.stream.directory == NULL or handle.stream.path == NULL:
        raise MemoryError
    return handle


def _check(name, directory, max_bytes, files, line_bytes_max):
    if not name or name.startswith(".") or "/" in name or "\0" in name or len(name) > 200:
        raise ValueError(f"{name!r:.80} can't be the name of a log")
    if not os.path.isabs(directory) or "\0" in directory:
        raise ValueError(f"log directory {directory!r:.80} is not an absolute path")
    for what, value, (low, high) in (
        ("max_bytes", max_bytes, BYTES_MAX_RANGE),
        ("files", files, FILES_RANGE),
        ("line_bytes_max", line_bytes_max, LINE_BYTES_MAX_RANGE),
    ):
        if not low <= value <= high:
            raise ValueError(f"{what} is {value}, range is {low} to {high}")


def _open_pipe(directory, pid):
    """The end to read from: the FIFO that process ``pid`` holds, or else that of the directory.

    What the process holds counts: the directory may have been deleted under it. A disk that can't
    take a name must not keep a service from its start, so a pipe without a name serves as well.
    """
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
    path = os.path.join(directory, PIPE)
    fd = _held_pipe(pid, flags) if pid else -1
    if fd < 0:
        try:
            os.makedirs(directory, DIRECTORY_MODE, exist_ok=True)
            try:
                os.mkfifo(path, PIPE_MODE)
            except FileExistsError:
                pass
            fd = os.open(path, flags | os.O_NOFOLLOW)
            if not stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.close(fd)
                raise OSError(EINVAL, "not a FIFO", path)
            os.fchmod(fd, PIPE_MODE)
        except OSError:
            reader, writer = os.pipe2(os.O_CLOEXEC)
            os.close(writer)
            try:
                fd = os.open(f"/proc/self/fd/{reader}", flags)
            finally:
                os.close(reader)
    # Refused when the user's pipes are at their limit; then 64 KiB have to do.
    set_pipe_size(fd, F_SETPIPE_SZ, PIPE_BYTES if os.geteuid() else PIPE_BYTES_PRIVILEGED)
    return fd


def _held_pipe(pid, flags):
    """The FIFO that a service got from an engine, or -1.

    Ours are open for reading and writing at once, which no pipe of a shell is.
    """
    for number in (1, 2):
        try:
            with open(f"/proc/{pid}/fdinfo/{number}") as file:
                info = dict(line.split(":", 1) for line in file.read(4096).splitlines())
            if int(info["flags"], 8) & os.O_ACCMODE != os.O_RDWR:
                continue
            fd = os.open(f"/proc/{pid}/fd/{number}", os.O_PATH | os.O_CLOEXEC)
            try:
                if stat.S_ISFIFO(os.fstat(fd).st_mode):
                    return os.open(f"/proc/self/fd/{fd}", flags)
            finally:
                os.close(fd)
        except (OSError, ValueError, KeyError):
            continue
    return -1


def _write_end(pipe):
    """Another open file on the FIFO: one that blocks, whatever the reader's does."""
    return os.open(f"/proc/self/fd/{pipe}", os.O_RDWR | os.O_CLOEXEC)


# The thread


cdef void* _run(void* argument) noexcept nogil:
    cdef Engine* engine = <Engine*> argument
    cdef epoll_event events[EVENTS]
    cdef Stream* stream
    cdef uint64_t woken
    cdef int number, i
    cdef bint ordered
    while not engine.stopping:
        number = epoll_wait(engine.epoll, events, EVENTS, _timeout_ms(engine))
        ordered = False
        for i in range(number):
            stream = <Stream*> events[i].data.ptr
            if stream == NULL:
                read(engine.wake, &woken, sizeof(woken))
                ordered = True
            else:
                _pump(engine, stream, READS_PER_TURN)
        # Only now: an order may free a stream that an event above named.
        if ordered:
            _obey(engine)
        if engine.refused:
            _retry(engine)
    stream = engine.streams
    while stream != NULL:
        _pump(engine, stream, READS_AT_END)
        stream = stream.next
    _obey(engine)
    while engine.streams != NULL:
        stream = engine.streams
        engine.streams = stream.next
        if stream.refusal:
            _try_again(engine, stream)
        close_stream(stream)
    return NULL


cdef int _timeout_ms(Engine* engine) noexcept nogil:
    cdef Stream* stream = engine.streams
    cdef int64_t due = 0
    if not engine.refused:
        return -1
    while stream != NULL:
        if stream.refusal and (due == 0 or stream.retry_at < due):
            due = stream.retry_at
        stream = stream.next
    due -= clock_us(CLOCK_MONOTONIC)
    return 0 if due <= 0 else <int> (due // 1000 + 1)


cdef void _obey(Engine* engine) noexcept nogil:
    """Carry out what the other thread asked for, in its order."""
    cdef Order* order
    cdef Order* done
    pthread_mutex_lock(&engine.lock)
    order = engine.first
    engine.first = engine.last = NULL
    pthread_mutex_unlock(&engine.lock)
    while order != NULL:
        if order.kind == ADD:
            _add(engine, order.stream)
        elif order.kind == RENEW or order.kind == BOUND:
            if order.kind == RENEW:
                _pump(engine, order.stream, READS_AT_END)
                _end_line(engine, order.stream)
            order.stream.bytes_max = order.bytes_max
            order.stream.line_bytes_max = order.line_bytes_max
            order.stream.files = order.files
        elif order.kind == CLOSE:
            _pump(engine, order.stream, READS_AT_END)
            _end_line(engine, order.stream)
            _remove(engine, order.stream)
        elif order.kind == REOPEN:
            _reopen_all(engine)
        elif order.kind == STOP:
            engine.stopping = True
        done = order
        order = order.next
        free(done)


cdef void _add(Engine* engine, Stream* stream) noexcept nogil:
    cdef epoll_event event
    cdef int code
    stream.next = engine.streams
    engine.streams = stream
    code = open_log(stream)
    # Whoever is taken over goes on with the line that the file ends in.
    stream.in_line = stream.in_line and stream.torn
    if code:
        _refuse(engine, stream, code)
    event.events = EPOLLIN
    event.data.ptr = stream
    epoll_ctl(engine.epoll, EPOLL_CTL_ADD, stream.pipe, &event)


cdef void _remove(Engine* engine, Stream* stream) noexcept nogil:
    cdef Stream** at = &engine.streams
    while at[0] != NULL and at[0] != stream:
        at = &at[0].next
    if at[0] == stream:
        at[0] = stream.next
    if stream.refusal:
        _try_again(engine, stream)
        if stream.refusal:
            engine.refused -= 1
    epoll_ctl(engine.epoll, EPOLL_CTL_DEL, stream.pipe, NULL)
    close_stream(stream)


cdef void _reopen_all(Engine* engine) noexcept nogil:
    cdef Stream* stream = engine.streams
    cdef int code
    while stream != NULL:
        if not stream.refusal:
            code = open_log(stream)
            if code:
                _refuse(engine, stream, code)
        stream = stream.next


# From the FIFO to the file


cdef void _pump(Engine* engine, Stream* stream, int reads) noexcept nogil:
    """Read at most ``reads`` times and write what came."""
    cdef Py_ssize_t size
    cdef bint looked = False
    while reads > 0:
        size = read(stream.pipe, engine.data, READ_BYTES)
        if size < 0 and errno == EINTR:
            continue
        if size <= 0:
            return
        if not looked:
            looked = True
            _look(engine, stream)
        reads -= 1
        _stamp(engine)
        count(&stream.bytes, size)
        _take(engine, stream, engine.data, size)
        _flush(engine, stream)
        if size < READ_BYTES:
            return


cdef void _take(Engine* engine, Stream* stream, const char* data, Py_ssize_t size) noexcept nogil:
    """Cut input into pieces; all of ``data`` is taken or counted as dropped."""
    cdef Py_ssize_t at = 0, end, part
    cdef const char* found
    while at < size:
        if stream.refusal:
            drop_input(stream, data + at, size - at)
            return
        found = <const char*> memchr(data + at, c"\n", size - at)
        end = size if found == NULL else found - data
        while True:
            if stream.piece_open and stream.piece_bytes >= stream.line_bytes_max and at < end:
                _put(engine, stream, b"\n", 1)
                stream.piece_open = False
            if not stream.piece_open:
                _begin_piece(engine, stream, end - at)
            part = min(end - at, <Py_ssize_t> (stream.line_bytes_max - stream.piece_bytes))
            if stream.refusal:
                break
            part = _put(engine, stream, data + at, part)
            stream.piece_bytes += part
            at += part
            if at == end or stream.refusal:
                break
        if found != NULL and not stream.refusal:
            _put(engine, stream, b"\n", 1)
            stream.in_line = stream.piece_open = False
            count(&stream.lines, 1)
            at += 1


cdef void _begin_piece(Engine* engine, Stream* stream, Py_ssize_t known) noexcept nogil:
    """Write a stamp, in a new file if this one has no room for what is known of the piece."""
    cdef uint64_t size
    cdef int code
    if stream.torn:
        _put(engine, stream, b"\n", 1)
        stream.torn = False
    size = stream.size + engine.out_size
    known = min(known, <Py_ssize_t> stream.line_bytes_max) + STAMP_BYTES + 1
    if size and size + known > stream.bytes_max:
        _flush(engine, stream)
        if stream.refusal:
            return
        code = rotate_log(stream)
        if code:
            _refuse(engine, stream, code)
            return
    engine.stamp[STAMP_BYTES - 1] = c"+" if stream.in_line else c" "
    _put(engine, stream, engine.stamp, STAMP_BYTES)
    stream.in_line = stream.piece_open = True
    stream.piece_bytes = 0


cdef void _end_line(Engine* engine, Stream* stream) noexcept nogil:
    """The process that wrote has ended, and whatever line it was in with it."""
    if (stream.piece_open or stream.torn) and not stream.refusal:
        _put(engine, stream, b"\n", 1)
        _flush(engine, stream)
    stream.piece_open = stream.in_line = stream.torn = False


cdef Py_ssize_t _put(
    Engine* engine, Stream* stream, const char* data, Py_ssize_t size
) noexcept nogil:
    """Add to what goes out; returns how much was taken: all of it, unless the disk refused."""
    cdef Py_ssize_t at = 0, part
    while at < size and not stream.refusal:
        part = min(size - at, OUT_BYTES - engine.out_size)
        memcpy(engine.out + engine.out_size, data + at, part)
        engine.out_size += part
        at += part
        if engine.out_size == OUT_BYTES:
            _flush(engine, stream)
    return at


cdef void _flush(Engine* engine, Stream* stream) noexcept nogil:
    """Write out all that is stamped; what the disk does not take is dropped."""
    cdef Py_ssize_t at = 0, size = engine.out_size, written, kept
    engine.out_size = 0
    while at < size and not stream.refusal:
        written = write(stream.file, engine.out + at, size - at)
        if written >= 0:
            at += written
            stream.size += written
        elif errno != EINTR:
            kept = keep_lines(stream, engine.out, at, errno)
            _refuse(engine, stream, errno)
            drop_stamped(stream, engine.out + kept, size - kept)


# The file


cdef void _look(Engine* engine, Stream* stream) noexcept nogil:
    """See that the file is still there: its directory may be gone, or somebody emptied it."""
    cdef file_stat status
    cdef int code = 0
    if stream.refusal:
        return
    if fstat(stream.file, &status) < 0:
        code = errno
    elif status.st_nlink == 0:
        code = open_log(stream)
    else:
        stream.size = status.st_size
    if code:
        _refuse(engine, stream, code)


cdef void _refuse(Engine* engine, Stream* stream, int code) noexcept nogil:
    """From now on lines are dropped, until a try succeeds."""
    cdef int64_t now = clock_us(CLOCK_MONOTONIC)
    if not stream.refusal:
        engine.refused += 1
        if now - stream.retry_at > BACKOFF_RESET_US:
            stream.backoff_us = BACKOFF_MIN_US
        else:
            stream.backoff_us = min(2 * stream.backoff_us, BACKOFF_MAX_US)
        stream.refused_at = now
        stream.gap_lines = stream.gap_bytes = 0
    else:
        stream.backoff_us = min(2 * stream.backoff_us, BACKOFF_MAX_US)
    stream.refusal = code
    stream.retry_at = now + stream.backoff_us
    stream.piece_open = False
    set_flag(&stream.problem, code)
    if stream.file >= 0:
        close(stream.file)
        stream.file = -1


cdef void _retry(Engine* engine) noexcept nogil:
    cdef Stream* stream = engine.streams
    cdef int64_t now = clock_us(CLOCK_MONOTONIC)
    while stream != NULL:
        if stream.refusal and stream.retry_at <= now:
            _try_again(engine, stream)
        stream = stream.next


cdef void _try_again(Engine* engine, Stream* stream) noexcept nogil:
    """Open the file and say in it what is missing; if that can be written, all is well."""
    cdef char report[REPORT_BYTES]
    cdef int64_t gap_us = clock_us(CLOCK_MONOTONIC) - stream.refused_at
    cdef Py_ssize_t size = 0
    cdef int code = open_log(stream)
    if not code and stream.size + REPORT_BYTES > stream.bytes_max:
        code = rotate_log(stream)
    if not code and stream.gap_bytes:
        _stamp(engine)
        engine.stamp[STAMP_BYTES - 1] = c"!"
        report[0] = c"\n"
        memcpy(report + 1, engine.stamp, STAMP_BYTES)
        size = 1 + STAMP_BYTES + snprintf(
            report + 1 + STAMP_BYTES, REPORT_BYTES - 1 - STAMP_BYTES,
            b"sup: %llu lines (%llu bytes) dropped in %lld.%03lld s: %.80s\n",
            <unsigned long long> stream.gap_lines, <unsigned long long> stream.gap_bytes,
            <long long> (gap_us // 1000000), <long long> (gap_us // 1000 % 1000),
            strerror(stream.refusal),
        )
        code = write_report(stream, report, size)
    if code:
        _refuse(engine, stream, code)
        return
    stream.refusal = 0
    engine.refused -= 1
    set_flag(&stream.problem, 0)


# Stamps


cdef void _stamp(Engine* engine) noexcept nogil:
    """The time now, with the part that changes once a second kept."""
    cdef int64_t now = clock_us(CLOCK_REALTIME)
    cdef int64_t seconds = now // 1000000
    if seconds != engine.stamp_s:
        engine.stamp_s = seconds
        write_seconds(engine.stamp, seconds)
    write_micros(engine.stamp, now - seconds * 1000000)


cdef void _forget_orders(Order* order) noexcept nogil:
    cdef Order* done
    while order != NULL:
        done = order
        order = order.next
        free(done)
