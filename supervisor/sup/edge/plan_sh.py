"""Evaluate a Habitat ``plan.sh`` in a cage: bounded in time, memory, output and processes.

A plan is a program, so it is run, but where it can do nothing: ``plan_jail.py`` (a process without
network, rights and writable files) executes bash with ``plan_sh.bash``, which says what the plan's
variables are. Nothing of the output is ever evaluated. The plan may read what is on this host, so
that it can ``source`` its neighbours. Its facts are kept by the digest of every file it was made
of, in the state directory: a restart needs no bash, and an edit is seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sup.edge.operator_files import read_operator_file
from sup.edge.state_files import CorruptStateError, seal, unseal, write_durable
from sup.errors import OperatorError
from sup.model.plan_sh import PlanFacts, parse_records

PLAN_SH_BYTES_MAX = 256 * 1024
"""The longest plan known is 40 KB."""
WAIT_S = 10.0
"""A plan takes 20 ms; one that asks git or sums up a tree takes a second."""
RECORDS_BYTES_MAX = 256 * 1024
OUTPUT_BYTES_MAX = 1024 * 1024
"""What a plan may print before it counts as a flood; the last ``TAIL_BYTES`` are looked at."""
TAIL_BYTES = 16 * 1024
LIMITS = {"CPU": 5, "AS": 1 << 30, "FSIZE": 1 << 20, "NPROC": 64, "NOFILE": 64, "CORE": 0}
"""Resource limits by the names of getrlimit(2): seconds, bytes, counts."""
REFUSED = 97
"""``plan_jail.REFUSED``: this host has no means to build the cage."""
NEIGHBOURS_MAX = 128
"""Files beside the plan that count for the cache: a plan may read VERSION or package.json."""
NEIGHBOUR_BYTES_MAX = 64 * 1024
CACHE_BYTES_MAX = 1024 * 1024
CACHE_KIND = "plan"
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_JAIL = Path(__file__).with_name("plan_jail.py")
_SCRIPT = Path(__file__).with_name("plan_sh.bash")
_BASH_LINE = re.compile(r"^(?P<file>.*?): line (?P<line>\d+): (?P<what>.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Outcome:
    records: bytes
    output: str
    code: int
    problem: str = ""


def find_plan(directory: Path) -> Path | None:
    """``plan.sh`` or ``habitat/plan.sh`` of a directory, or None.

    Raises:
        OperatorError: it has both.
    """
    found = [directory / "plan.sh", directory / "habitat" / "plan.sh"]
    found = [file for file in found if os.path.lexists(file)]
    if len(found) == 2:
        raise OperatorError(f"{directory} has plan.sh and habitat/plan.sh; keep one of them")
    return found[0] if found else None


def evaluate_plan(
    file: Path, *, cache_dir: Path | None = None, wait_s: float = WAIT_S, bash: str | None = None
) -> PlanFacts:
    """What ``file`` says; blocks for as long as bash takes, at most ``wait_s``.

    ``cache_dir`` keeps facts between calls and starts. ``bash`` is the shell, else that of
    ``SEARCH_PATH``.

    Raises:
        OperatorError: one line with the plan's file and line: it can't be read, doesn't parse, ends
            the shell, takes too long or says too much, or this host has no bash or no cage.
    """
    data, _ = read_operator_file(file, PLAN_SH_BYTES_MAX)
    if b"\r\n" in data:
        line = data[: data.index(b"\r\n")].count(b"\n") + 1
        raise OperatorError(
            f"{file}:{line}: the line ends in CR LF, which bash takes for part of the value;"
            f" run: sed -i 's/\\r$//' {file}"
        )
    if b"\0" in data:
        raise OperatorError(f"{file} has a NUL byte; it is not a shell script")
    kept = None if cache_dir is None else cache_dir / f"{_place_digest(file)}.plan"
    if kept is not None:
        facts = _from_cache(kept, file)
        if facts is not None:
            return facts
    shell = bash or shutil.which("bash", path=SEARCH_PATH)
    if shell is None:
        raise OperatorError(
            f"{file}: bash is not installed, and plan.sh is a bash script; install bash, or write"
            " plan.toml beside it"
        )
    outcome = _run(file, shell, wait_s)
    facts = parse_records(outcome.records)
    if not facts.complete:
        raise OperatorError(_explain(file, outcome, facts))
    facts = msgspec.structs.replace(facts, files=_sources(facts, file))
    syntax = _syntax_error(outcome.output)
    if syntax:
        raise OperatorError(f"{syntax}; mend the plan")
    if kept is not None:
        _to_cache(kept, file, facts)
    return facts


def _run(file: Path, shell: str, wait_s: float) -> _Outcome:
    """One evaluation. Whatever happens, no process of it is left."""
    records_end, records_fd = os.pipe2(os.O_CLOEXEC)
    directory = str(file.parent.absolute())
    config = {
        "fd": records_fd,
        "directory": directory,
        "argv": [shell, "--noprofile", "--norc", str(_SCRIPT), str(file.absolute())],
        "limits": LIMITS,
        "environment": {
            "PATH": SEARCH_PATH,
            "HOME": "/nonexistent",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "TMPDIR": "/dev/shm",
            "HAB_ROOT_PATH": "/hab",
            "HAB_PKG_PATH": "/hab/pkgs",
            "HAB_CACHE_SRC_PATH": "/hab/cache/src",
            "HAB_NOCOLORING": "true",
            "PLAN_CONTEXT": directory,
            "SRC_PATH": _source_root(file),
        },
    }
    try:
        with subprocess.Popen(
            [sys.executable, "-I", "-S", str(_JAIL), json.dumps(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(records_fd,),
            env={},
            cwd="/",
        ) as jail:
            os.close(records_fd)
            records_fd = -1
            assert jail.stdout is not None
            try:
                records, output, problem = _read(records_end, jail.stdout.fileno(), wait_s)
                if not problem:
                    try:
                        jail.wait(max(0.1, wait_s))
                    except subprocess.TimeoutExpired:
                        problem = _too_long(wait_s)
            finally:
                _end(jail)
            return _Outcome(records, output, jail.returncode, problem)
    except OSError as error:
        raise OperatorError(f"{file}: can't start its evaluation: {error.strerror}") from None
    finally:
        os.close(records_end)
        if records_fd >= 0:
            os.close(records_fd)


def _read(records_fd: int, output_fd: int, wait_s: float) -> tuple[bytes, str, str]:
    """Both streams to their ends; a problem ends it early. Only the output's tail is kept."""
    deadline = time.monotonic() + wait_s
    records, tail, printed, problem = bytearray(), bytearray(), 0, ""
    with selectors.DefaultSelector() as selector:
        for fd in (records_fd, output_fd):
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map() and not problem:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                problem = _too_long(wait_s)
                break
            for key, _ in selector.select(left_s):
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fd)
                elif key.fd == records_fd:
                    records += data
                    if len(records) > RECORDS_BYTES_MAX:
                        problem = f"its variables are over {RECORDS_BYTES_MAX} bytes; shorten them"
                else:
                    printed += len(data)
                    tail += data
                    del tail[:-TAIL_BYTES]
                    if printed > OUTPUT_BYTES_MAX:
                        problem = f"it printed over {OUTPUT_BYTES_MAX} bytes; does it loop?"
    return bytes(records), tail.decode("utf-8", "replace"), problem


def _end(jail: subprocess.Popen[bytes]) -> None:
    """End the keeper; it sweeps what is left, and the kernel ends what is in its namespace."""
    if jail.poll() is None:
        jail.terminate()
        try:
            jail.wait(4)
        except subprocess.TimeoutExpired:
            jail.kill()
            jail.wait()


def _too_long(wait_s: float) -> str:
    return f"it took over {wait_s:g} s; does it loop, or wait for something?"


def _explain(file: Path, outcome: _Outcome, facts: PlanFacts) -> str:
    """Why an evaluation came to nothing, in one line."""
    if outcome.problem:
        return f"{file} was ended: {outcome.problem}"
    syntax = _syntax_error(outcome.output)
    if syntax:
        return f"{syntax}; mend the plan"
    last = next((x.strip() for x in reversed(outcome.output.splitlines()) if x.strip()), "")
    if outcome.code == REFUSED:
        return (
            f"{file} is not evaluated: {last.removeprefix('sup: ') or 'no cage'}; allow user"
            " namespaces (sysctl user.max_user_namespaces), run as root, or write plan.toml"
        )
    if facts.ended is not None:
        ended = facts.ended
        said = " ".join(ended.what.split())[:200] or last[:200]
        where = f"{ended.file}:{ended.line}" if ended.line else str(file)
        return (
            f"{where}: the plan ended the shell with exit code {ended.status}"
            + (f": {said}" if said else "")
            + "; it must come to its end without a build"
        )
    if outcome.code > 128:
        name = signal.Signals(outcome.code - 128).name
        why = "it used its 5 s of CPU time" if name in ("SIGKILL", "SIGXCPU") else f"by {name}"
        return f"{file} was ended: {why}; does it loop?"
    return f"{file} gave no result (exit {outcome.code})" + (f": {last[:200]}" if last else "")


def _syntax_error(output: str) -> str:
    for found in _BASH_LINE.finditer(output):
        if "syntax error" in found["what"] or "unexpected EOF" in found["what"]:
            return f"{found['file']}:{found['line']}: {found['what']}"
    return ""


def _source_root(file: Path) -> str:
    parent = file.parent.absolute()
    return str(parent.parent if parent.name == "habitat" else parent)


def _sources(facts: PlanFacts, file: Path) -> list[str]:
    """The files of which commands ran, absolute, without our own."""
    found = {str(file.absolute())}
    for name in facts.files:
        path = os.path.normpath(os.path.join(file.parent.absolute(), name))
        if name and path != str(_SCRIPT) and os.path.isfile(path):
            found.add(path)
    return sorted(found)


# ---- the cache -----------------------------------------------------------------------------------


def _place_digest(file: Path) -> str:
    return hashlib.sha256(os.fsencode(file.absolute())).hexdigest()[:32]


def _content_digest(file: Path, sources: list[str]) -> str:
    """Of the evaluating script, the sources, and the small files beside the plan."""
    names = {str(_SCRIPT), *sources}
    for place in {str(file.parent.absolute()), _source_root(file)}:
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            beside = sorted(
                entry.path
                for entry in entries
                if entry.is_file() and entry.stat().st_size <= NEIGHBOUR_BYTES_MAX
            )
            names.update(beside[:NEIGHBOURS_MAX])
    digest = hashlib.sha256()
    for name in sorted(names):
        try:
            data, _ = read_operator_file(Path(name), PLAN_SH_BYTES_MAX)
        except OperatorError:
            data = b"?"
        for part in (os.fsencode(name), data):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


class _Kept(msgspec.Struct):
    digest: str
    facts: PlanFacts


def _from_cache(kept: Path, file: Path) -> PlanFacts | None:
    """Facts that are still true. A cache that can't be read is no cache."""
    try:
        data, _ = read_operator_file(kept, CACHE_BYTES_MAX)
        found = msgspec.json.decode(unseal(data, CACHE_KIND), type=_Kept)
    except (OperatorError, CorruptStateError, msgspec.MsgspecError):
        return None
    return found.facts if found.digest == _content_digest(file, found.facts.files) else None


def _to_cache(kept: Path, file: Path, facts: PlanFacts) -> None:
    found = _Kept(_content_digest(file, facts.files), facts)
    # A disk that refuses costs the next start an evaluation.
    with contextlib.suppress(OSError):
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        write_durable(kept, seal(msgspec.json.encode(found), CACHE_KIND))
