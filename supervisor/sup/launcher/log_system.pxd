"""Declarations of the Linux calls that the log engine makes, and counters two threads share."""

from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/epoll.h>
    #include <sys/eventfd.h>
    #include <sys/stat.h>
    #include <time.h>
    #include <unistd.h>

    /* One thread writes a counter and another reads it: no lock, but whole values. */
    static inline uint64_t sup_counter(const uint64_t *at) {
        return __atomic_load_n(at, __ATOMIC_RELAXED);
    }
    static inline void sup_count(uint64_t *at, uint64_t more) {
        __atomic_store_n(at, __atomic_load_n(at, __ATOMIC_RELAXED) + more, __ATOMIC_RELAXED);
    }
    static inline int sup_flag(const int *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline void sup_set_flag(int *at, int value) {
        __atomic_store_n(at, value, __ATOMIC_RELEASE);
    }
    static inline int64_t sup_clock_us(clockid_t clock) {
        struct timespec now;
        clock_gettime(clock, &now);
        return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    }
    static inline int sup_start_thread(
        pthread_t *thread, void *(*function)(void *), void *argument, size_t stack
    ) {
        /* Signals are for the process's first thread: this one never runs a handler. */
        pthread_attr_t attributes;
        sigset_t all, before;
        int result;
        if ((result = pthread_attr_init(&attributes)) != 0) return result;
        pthread_attr_setstacksize(&attributes, stack);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        result = pthread_create(thread, &attributes, function, argument);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
        return result;
    }
    static inline int sup_join(pthread_t thread, double seconds) {
        /* Not pthread_timedjoin_np: its time-out is the wall clock's, which may be set back. */
        const struct timespec pause = {0, 500000};
        int64_t until = sup_clock_us(CLOCK_MONOTONIC) + (int64_t)(seconds * 1e6);
        int result;
        while ((result = pthread_tryjoin_np(thread, NULL)) != 0) {
            if (sup_clock_us(CLOCK_MONOTONIC) >= until) break;
            nanosleep(&pause, NULL);
        }
        return result;
    }
    static inline void sup_set_errno(int number) { errno = number; }
    """
    ctypedef unsigned long pthread_t
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef int clockid_t
    clockid_t CLOCK_MONOTONIC, CLOCK_REALTIME
    int pthread_mutex_init(pthread_mutex_t* lock, void* attributes) nogil
    int pthread_mutex_lock(pthread_mutex_t* lock) nogil
    int pthread_mutex_unlock(pthread_mutex_t* lock) nogil
    int pthread_mutex_destroy(pthread_mutex_t* lock) nogil

    uint64_t counter "sup_counter" (const uint64_t* at) noexcept nogil
    void count "sup_count" (uint64_t* at, uint64_t more) noexcept nogil
    int flag "sup_flag" (const int* at) noexcept nogil
    void set_flag "sup_set_flag" (int* at, int value) noexcept nogil
    void set_errno "sup_set_errno" (int number) noexcept nogil
    int64_t clock_us "sup_clock_us" (clockid_t clock) noexcept nogil
    int start_thread "sup_start_thread" (
        pthread_t* thread, void* (*function)(void*) noexcept nogil, void* argument, size_t stack
    ) noexcept nogil
    int join_thread "sup_join" (pthread_t thread, double seconds) noexcept nogil

    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EFD_CLOEXEC, EFD_NONBLOCK
    uint32_t EPOLLIN
    ctypedef union epoll_data_t:
        void* ptr
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags) nogil
    int epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event) nogil
    int epoll_wait(int epoll_fd, epoll_event* events, int count, int timeout_ms) nogil
    int eventfd(unsigned int value, int flags) nogil

    int O_RDWR, O_APPEND, O_CREAT, O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK
    int open_file "open" (const char* path, int flags, int mode) nogil
    int F_SETPIPE_SZ
    int set_pipe_size "fcntl" (int fd, int command, int size) nogil
    int ftruncate(int fd, int64_t size) nogil
    Py_ssize_t pread(int fd, void* data, size_t size, int64_t offset) nogil
    Py_ssize_t read(int fd, void* data, size_t size) nogil
    Py_ssize_t write(int fd, const void* data, size_t size) nogil
    int close(int fd) nogil
    int mkdir(const char* path, int mode) nogil
    int unlink(const char* path) nogil
    int rename(const char* source, const char* target) nogil
    int snprintf(char* text, size_t size, const char* form, ...) nogil
    ctypedef struct file_stat "struct stat":
        uint32_t st_mode
        uint64_t st_nlink
        int64_t st_size
    int fstat(int fd, file_stat* status) nogil
    int S_ISREG(uint32_t mode) nogil
