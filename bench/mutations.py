"""Plant known faults in the core's source, one at a time, and see whether the simulator finds each.

Question: would the checks and bounds notice if somebody simplified a rule away? Each mutant names
the tempting version; it is built in a scratch copy and a short campaign runs on it until
something fails. A mutant that survives is a gap in the checks, a mutant whose anchor is gone is
out of date: both end with exit status 1. Takes some minutes, most of it the compiler.

    python bench/mutations.py [NAME ...]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: in `file`, `old` becomes `new`."""

    name: str
    file: str
    old: str
    new: str


MUTANTS = (
    Mutant(
        "silence is proof: a last check without any answer declares",
        "failure_detector.pyx",
        "if probe.answers >= probe.needed:",
        "if True:",
    ),
    Mutant(
        "silence accuses: a probe that nobody answered is a failed probe",
        "failure_detector.pyx",
        "if probe.asked and probe.answers == 0:",
        "if False:",
    ),
    Mutant(
        "fixed numbers of helpers: not capped by the live members",
        "failure_detector.pyx",
        "if probe.needed > probe.asked:",
        "if False:",
    ),
    Mutant(
        "no refutation: an accused member keeps its incarnation",
        "membership.pyx",
        "self.table.incarnations[0] = incarnation + 1",
        "pass",
    ),
    Mutant(
        "no tolerance: a suspect is checked at once",
        "suspicion.pyx",
        "first_failed + self.settings.pause_tolerance_us + 3 * rto",
        "first_failed",
    ),
    Mutant(
        "left is no end: a higher incarnation revives a leaver",
        "member_table.pyx",
        "return state_a == STATE_LEFT",
        "return incarnation_a > incarnation_b",
    ),
    Mutant(
        "old news wins: any other incarnation outranks",
        "member_table.pyx",
        "return incarnation_a > incarnation_b",
        "return True",
    ),
    Mutant(
        "epochs do not count: a restarted member is its old self",
        "member_table.pyx",
        "return epoch_a > epoch_b",
        "return incarnation_a > incarnation_b",
    ),
    Mutant(
        "a death told by a synchronisation is believed",
        "membership.pyx",
        "if m.state == STATE_DEAD and how != SOURCE_GOSSIP",
        "if False and how != SOURCE_GOSSIP",
    ),
    Mutant(
        "hearsay is shown: an unknown member need not answer first",
        "membership.pyx",
        "elif how == SOURCE_SYNC or how == SOURCE_DISK or m.state == STATE_SUSPECT:",
        "elif how == SOURCE_DISK:",
    ),
    Mutant(
        "suspicions are part of the digest",
        "membership.pyx",
        "words[2] = state if state == STATE_DEAD or state == STATE_LEFT else <uint8_t> STATE_ALIVE",
        "words[2] = state",
    ),
    Mutant(
        "the dead are left alone: nobody contacts them",
        "membership.pyx",
        "self.table.backoff_s[row] = 0\n            self.arm_contact(row)",
        "self.table.backoff_s[row] = 0",
    ),
    Mutant(
        "rings merge: the ring of a packet is not looked at",
        "node.pyx",
        "if header.ring != self.ring:",
        "if False:",
    ),
    Mutant(
        "no repair: digests are never compared",
        "anti_entropy.pyx",
        "cdef bint should_exchange(self, uint64_t digest, int64_t now) noexcept:",
        "cdef bint should_exchange(self, uint64_t digest, int64_t now) noexcept:\n"
        "        return False",
    ),
    Mutant(
        "a batch is told once: no second round",
        "dissemination.pyx",
        "level = picked.level + copies",
        "level = limit",
    ),
    Mutant(
        "sequences repeat: two values under one version",
        "rumors.pyx",
        "self.own_seq += 1",
        "self.own_seq = 1",
    ),
)

CAMPAIGNS = (
    ("--scenario", "all", "--small", "--seeds", "25"),
    ("--scenario", "all", "--members", "60", "--seeds", "2"),
    ("--scenario", "chaos", "--members", "100", "--seeds", "20"),
)


def main(wanted: list[str]) -> int:
    """Run all mutants, or those whose name contains one of the arguments."""
    chosen = [m for m in MUTANTS if not wanted or any(w in m.name for w in wanted)]
    bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        ignore = shutil.ignore_patterns(".git", "__pycache__", "plugins", ".venv", "examples")
        shutil.copytree(ROOT, copy, ignore=ignore)
        (copy / "README.md").touch()
        for mutant in chosen:
            verdict, killed = run(copy, mutant)
            bad += not killed
            print(f"{'found   ' if killed else 'MISSED  '} {mutant.name}\n           {verdict}")
    print(f"{len(chosen) - bad} of {len(chosen)} mutants found")
    return 1 if bad else 0


def run(copy: Path, mutant: Mutant) -> tuple[str, bool]:
    """Build one mutant and run the campaigns on it; return what was seen and whether it was
    found."""
    path = copy / "core" / "sup_core" / mutant.file
    source = path.read_text()
    if source.count(mutant.old) < 1:
        return "out of date: its anchor is not in the source", False
    path.write_text(source.replace(mutant.old, mutant.new))
    try:
        build = python(copy, "setup.py", "-q", "build_ext", "--inplace")
        if build.returncode:
            return f"does not build: {build.stderr[-300:]}", False
        for campaign in CAMPAIGNS:
            try:
                done = python(copy, "bench/campaign.py", "--quiet", "--fail-fast", *campaign)
            except subprocess.TimeoutExpired:
                return "hangs", True
            if done.returncode:
                lines = [line for line in done.stderr.splitlines() if line.startswith("FAILED")]
                return (lines[0] if lines else done.stderr[-300:].strip())[:160], True
        return "survived all campaigns", False
    finally:
        path.write_text(source)


def python(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the interpreter in the copy."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": "core:supervisor"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
