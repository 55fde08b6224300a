"""Start a program: everything between fork and exec, in C, so that nothing there can fail halfway.

``spawn`` makes a child with vfork(2): the parent's thread waits until the child has executed its
program or failed, and the child uses the parent's memory until then. It therefore calls system
calls only (the raw ones where glibc would signal the other threads of the parent), allocates
nothing and never touches Python. Why it failed comes back in that shared memory.

The order matters: the directory, the cgroup, limits and scores with the rights of the parent, which
may be more; then groups, group and user; descriptors last. Sources: vfork(2), execve(2),
credentials(7), close_range(2), cgroups(7).
"""

from cpython.bytes cimport PyBytes_AsString
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

import errno
import os

cdef extern from *:
    """
    #define _GNU_SOURCE 1
    #include <errno.h>
    #include <fcntl.h>
    #include <grp.h>
    #include <signal.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <sys/prctl.h>
    #include <sys/resource.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <sys/types.h>
    #include <sys/wait.h>
    #include <unistd.h>

    #ifdef SYS_setgroups32
    #define SUP_SETGROUPS SYS_setgroups32
    #define SUP_SETRESGID SYS_setresgid32
    #define SUP_SETRESUID SYS_setresuid32
    #else
    #define SUP_SETGROUPS SYS_setgroups
    #define SUP_SETRESGID SYS_setresgid
    #define SUP_SETRESUID SYS_setresuid
    #endif
    #ifndef SYS_close_range
    #define SYS_close_range 436
    #endif
    #define SUP_CLOSE_RANGE_CLOEXEC 4
    #define SUP_STANDARD_FDS 3
    #define SUP_RLIMITS_MAX 20

    enum sup_step {
        SUP_FORK = 1, SUP_SESSION, SUP_CGROUP, SUP_OOM, SUP_RLIMIT, SUP_NICE, SUP_GROUPS, SUP_GID,
        SUP_UID, SUP_CHDIR, SUP_FDS, SUP_EXEC
    };

    struct sup_rlimit { int resource; uint64_t soft, hard; };

    struct sup_request {
        char **paths;          /* what to try to execute, in this order */
        char **argv, **envp;
        const char *directory;
        int in, out, err;      /* descriptors that become 0, 1 and 2 */
        int keep;              /* becomes 3, or -1 */
        int cgroup;            /* an open cgroup.procs, or -1 */
        int credentials;       /* whether gid, uid and groups count */
        uid_t uid;
        gid_t gid;
        gid_t *groups;
        int group_count;
        int mask;
        int new_privileges;    /* 0: the program can never get more rights */
        int oom_set;
        const char *oom;       /* the score as text */
        int nice_set, nice;
        struct sup_rlimit limits[SUP_RLIMITS_MAX];
        int limit_count;
        volatile int step;     /* out: what failed */
        volatile int error;    /* out: errno of it */
        volatile int which;    /* out: index of the limit that failed */
    };

    static void sup_fail(struct sup_request *r, int step) {
        r->error = errno;
        r->step = step;
        _exit(127);
    }

    static void sup_child(struct sup_request *r) {
        int i, fd, fds[4], first_closed, error = ENOENT;
        ssize_t put;
        sigset_t none;
        struct sigaction default_action;

        if (setsid() < 0) sup_fail(r, SUP_SESSION);
        if (chdir(r->directory) < 0) sup_fail(r, SUP_CHDIR);
        if (r->cgroup >= 0 && write(r->cgroup, "0", 1) != 1) sup_fail(r, SUP_CGROUP);
        /* With dispositions of the parent's a signal now would run Python's handler in here. */
        for (i = 1; i < NSIG; i++) {
            default_action.sa_handler = SIG_DFL;
            default_action.sa_flags = 0;
            sigemptyset(&default_action.sa_mask);
            sigaction(i, &default_action, NULL);
        }
        if (r->oom_set) {
            fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
            if (fd < 0) sup_fail(r, SUP_OOM);
            for (i = 0; r->oom[i]; i++) {}
            put = write(fd, r->oom, i);
            if (put != i) sup_fail(r, SUP_OOM);
            close(fd);
        }
        for (i = 0; i < r->limit_count; i++) {
            struct rlimit64 { uint64_t soft, hard; } limit;
            limit.soft = r->limits[i].soft;
            limit.hard = r->limits[i].hard;
            if (syscall(SYS_prlimit64, 0, r->limits[i].resource, &limit, NULL) < 0) {
                r->which = i;
                sup_fail(r, SUP_RLIMIT);
            }
        }
        if (r->nice_set && setpriority(PRIO_PROCESS, 0, r->nice) < 0) sup_fail(r, SUP_NICE);
        if (r->credentials) {
            if (syscall(SUP_SETGROUPS, r->group_count, r->groups) < 0) sup_fail(r, SUP_GROUPS);
            if (syscall(SUP_SETRESGID, r->gid, r->gid, r->gid) < 0) sup_fail(r, SUP_GID);
            if (syscall(SUP_SETRESUID, r->uid, r->uid, r->uid) < 0) sup_fail(r, SUP_UID);
        }
        umask(r->mask);
        /* Out of the way first: one of ours may be 0, 1, 2 or 3 itself. */
        fds[0] = r->in; fds[1] = r->out; fds[2] = r->err; fds[3] = r->keep;
        for (i = 0; i < 4; i++) {
            if (fds[i] < 0) continue;
            fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 10);
            if (fds[i] < 0) sup_fail(r, SUP_FDS);
        }
        for (i = 0; i < 4; i++)
            if (fds[i] >= 0 && dup2(fds[i], i) < 0) sup_fail(r, SUP_FDS);
        first_closed = SUP_STANDARD_FDS + (r->keep >= 0);
        /* Older kernels (ENOSYS, EINVAL): ours are close-on-exec anyway, as Python opens them. */
        syscall(SYS_close_range, first_closed, ~0U, SUP_CLOSE_RANGE_CLOEXEC);
        if (!r->new_privileges) prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        for (i = 0; r->paths[i]; i++) {
            execve(r->paths[i], r->argv, r->envp);
            if (errno == ENOENT || errno == ENOTDIR) continue;
            error = errno;
            if (errno != EACCES) break;
        }
        errno = error;
        sup_fail(r, SUP_EXEC);
    }

    static int sup_spawn(struct sup_request *r) {
        sigset_t all, before;
        pid_t pid;
        int saved;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r->step = r->error = r->which = 0;
        pid = vfork();
        if (pid == 0) sup_child(r);
        saved = errno;
        if (pid > 0 && r->step) {
            while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
            pid = -1;
        } else if (pid < 0) {
            r->step = SUP_FORK;
            r->error = saved;
        }
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return pid;
    }
    """
    int SUP_RLIMITS_MAX
    ctypedef unsigned int gid_t
    struct sup_rlimit:
        int resource
        uint64_t soft
        uint64_t hard
    struct sup_request:
        char **paths
        char **argv
        char **envp
        const char *directory
        int inp "in"
        int out
        int err
        int keep
        int cgroup
        int credentials
        unsigned int uid
        unsigned int gid
        gid_t *groups
        int group_count
        int mask
        int new_privileges
        int oom_set
        const char *oom
        int nice_set
        int nice
        sup_rlimit *limits
        int limit_count
        int step
        int error
        int which
    int sup_spawn(sup_request *r) nogil

STEPS = (
    "", "fork", "open a session", "enter its cgroup", "set oom_score_adjust", "set a limit",
    "set nice", "set its groups", "set its group", "set its user", "enter its directory",
    "set up its descriptors", "execute",
)

RLIMIT_NAMES = {
    "cpu": 0, "fsize": 1, "data": 2, "stack": 3, "core": 4, "rss": 5, "nproc": 6, "nofile": 7,
    "memlock": 8, "as": 9, "locks": 10, "sigpending": 11, "msgqueue": 12, "nice": 13, "rtprio": 14,
    "rttime": 15,
}

ARGUMENTS_MAX = 65536


class SpawnError(OSError):
    """The child could not be started; ``step`` says at what, ``which`` names the limit."""

    def __init__(self, int error, str step, str which):
        super().__init__(error, os.strerror(error))
        self.step = step
        self.which = which


cdef char **_strings(list items) except NULL:
    """A NULL-ended array into ``items`` (bytes), which must outlive it; the caller frees it."""
    cdef Py_ssize_t i, count = len(items)
    if count > ARGUMENTS_MAX:
        raise ValueError(f"{count} arguments or variables, limit is {ARGUMENTS_MAX}")
    cdef char **array = <char **> calloc(count + 1, sizeof(char *))
    if array == NULL:
        raise MemoryError()
    for i in range(count):
        if b"\0" in <bytes> items[i]:
            free(array)
            raise ValueError("an argument or variable holds a NUL byte")
        array[i] = PyBytes_AsString(items[i])
    return array


def candidates(bytes program, bytes search):
    """The paths to try for ``program``: itself when it has a slash, else one in each directory."""
    if b"/" in program:
        return [program]
    return [(directory or b".") + b"/" + program for directory in search.split(b":")]


def spawn(
    list argv not None, list environment not None, bytes directory not None, *,
    int stdin, int stdout, int stderr, int keep=-1, int cgroup=-1, credentials=None,
    int umask=0o027, list limits=None, oom=None, nice=None, bint new_privileges=True,
    bytes search=b"/usr/local/bin:/usr/bin:/bin",
):
    """Start ``argv`` (bytes) in a session of its own and return its pid.

    ``environment`` is a list of ``NAME=value`` bytes. ``credentials`` is (uid, gid, groups) or
    None. ``limits`` are (resource number, soft, hard), -1 for no limit. ``keep`` becomes
    descriptor 3; ``cgroup`` is an open ``cgroup.procs``.

    Raises:
        SpawnError: with the step that failed; nothing is left behind.
        ValueError: an argument holds a NUL byte, or there are too many.
    """
    if not argv:
        raise ValueError("there is no program to start")
    limits = limits or []
    if len(limits) > SUP_RLIMITS_MAX:
        raise ValueError(f"{len(limits)} limits, at most {SUP_RLIMITS_MAX}")
    cdef sup_request *r = <sup_request *> calloc(1, sizeof(sup_request))
    if r == NULL:
        raise MemoryError()
    cdef list paths = candidates(argv[0], search)
    cdef bytes score
    cdef int pid
    cdef Py_ssize_t i
    try:
        if b"\0" in directory:
            raise ValueError("the directory holds a NUL byte")
        r.paths = _strings(paths)
        r.argv = _strings(argv)
        r.envp = _strings(environment)
        r.directory = PyBytes_AsString(directory)
        r.inp, r.out, r.err, r.keep, r.cgroup = stdin, stdout, stderr, keep, cgroup
        r.mask = umask
        r.new_privileges = new_privileges
        if credentials is not None:
            uid, gid, groups = credentials
            r.credentials, r.uid, r.gid = 1, uid, gid
            r.group_count = len(groups)
            r.groups = <gid_t *> calloc(max(1, len(groups)), sizeof(gid_t))
            if r.groups == NULL:
                raise MemoryError()
            for i in range(len(groups)):
                r.groups[i] = groups[i]
        if oom is not None:
            score = str(int(oom)).encode("ascii")
            r.oom_set, r.oom = 1, PyBytes_AsString(score)
        if nice is not None:
            r.nice_set, r.nice = 1, nice
        for i in range(len(limits)):
            resource, soft, hard = limits[i]
            r.limits[i].resource = resource
            r.limits[i].soft = <uint64_t> -1 if soft < 0 else <uint64_t> soft
            r.limits[i].hard = <uint64_t> -1 if hard < 0 else <uint64_t> hard
        r.limit_count = <int> len(limits)
        with nogil:
            pid = sup_spawn(r)
        if pid < 0:
            which = ""
            if STEPS[r.step] == "set a limit":
                number = limits[r.which][0]
                which = next((name for name, n in RLIMIT_NAMES.items() if n == number), "")
            raise SpawnError(r.error or errno.EINVAL, STEPS[r.step], which)
        return pid
    finally:
        free(r.paths)
        free(r.argv)
        free(r.envp)
        free(r.groups)
        free(r)
