"""Kernel calls that Python's lean modules lack: subreaper, signalfd, timerfd.

Sources: prctl(2), signalfd(2), timerfd_create(2). All descriptors are close-on-exec and never
block.
"""

import os

cdef extern from *:
    """
    #define _GNU_SOURCE 1
    #include <errno.h>
    #include <signal.h>
    #include <stdint.h>
    #include <sys/prctl.h>
    #include <sys/resource.h>
    #include <sys/signalfd.h>
    #include <sys/timerfd.h>
    #include <time.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    #endif

    static int sup_subreaper(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }

    static int sup_signalfd(void) {
        sigset_t all;
        sigfillset(&all);
        /* What a fault of our own raises must kill: blocked it would hang in the fault. */
        sigdelset(&all, SIGSEGV); sigdelset(&all, SIGBUS); sigdelset(&all, SIGFPE);
        sigdelset(&all, SIGILL); sigdelset(&all, SIGABRT); sigdelset(&all, SIGTRAP);
        if (sigprocmask(SIG_SETMASK, &all, NULL) < 0) return -1;
        return signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    }

    static int sup_timerfd(void) {
        return timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    }

    static int sup_arm(int fd, int64_t at_us) {
        struct itimerspec when = {{0, 0}, {0, 0}};
        if (at_us > 0) {
            when.it_value.tv_sec = at_us / 1000000;
            when.it_value.tv_nsec = (at_us % 1000000) * 1000;
        }
        return timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL);
    }

    static int sup_nofile(long long *soft, long long *hard) {
        struct rlimit now, more;
        if (getrlimit(RLIMIT_NOFILE, &now) < 0) return -1;
        *soft = now.rlim_cur == RLIM_INFINITY ? -1 : (long long) now.rlim_cur;
        *hard = now.rlim_max == RLIM_INFINITY ? -1 : (long long) now.rlim_max;
        more = now;
        more.rlim_cur = now.rlim_max;
        return setrlimit(RLIMIT_NOFILE, &more);
    }

    static void sup_trim(void) {
    #ifdef __GLIBC__
        malloc_trim(0);
    #endif
    }
    """
    int sup_subreaper()
    int sup_signalfd()
    int sup_timerfd()
    int sup_arm(int fd, long long at_us)
    void sup_trim()
    int sup_nofile(long long *soft, long long *hard)

SIGNAL_RECORD_BYTES = 128
"""Size of one record that a signalfd gives; its first four bytes are the signal's number."""


def become_subreaper():
    """Become the parent of orphaned descendants; False when the kernel refuses."""
    return sup_subreaper() == 0


def open_signals():
    """Block all signals but those of faults and return a signalfd that tells them."""
    cdef int fd = sup_signalfd()
    if fd < 0:
        raise OSError("signalfd: the kernel refuses")
    os.set_inheritable(fd, False)
    return fd


def open_timer():
    """Return a timerfd on CLOCK_BOOTTIME: it goes on while the machine is suspended."""
    cdef int fd = sup_timerfd()
    if fd < 0:
        raise OSError("timerfd: the kernel refuses")
    return fd


def arm(int fd, long long at_us):
    """Let the timer fire at ``at_us`` (µs of CLOCK_BOOTTIME), at once if that is past; 0: never."""
    if sup_arm(fd, at_us) < 0:
        raise OSError("timerfd_settime: the kernel refuses")


def raise_nofile():
    """Raise our soft limit of open files to the hard one; return (soft, hard) from before.

    -1 is no limit. Children get the old one back: select(2) breaks above 1024.
    """
    cdef long long soft = -1, hard = -1
    sup_nofile(&soft, &hard)
    return soft, hard


def trim():
    """Give freed heap back to the system."""
    sup_trim()
