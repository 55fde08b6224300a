"""Make the committed corpus anew: real packets of a simulated ring, of which coverage keeps a few.

``python tests/fuzz/make_corpus.py`` after a change of the packet format. A small ring lives through
joins, rumors of every kind, a crash, a leave, a restart and anti-entropy; its datagrams, stream
bodies and snapshots become inputs, the guided fuzzer varies them for a while, and libFuzzer's merge
keeps one input per piece of coverage.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "core")]

import rings  # noqa: E402
from tests.fuzz import instrument, targets  # noqa: E402

INPUTS_MAX = 60
INPUT_BYTES_MAX = 1800


def traffic() -> dict[str, list[bytes]]:
    """Inputs for each target."""
    rings.member_id, rings.address = targets.member_id, targets.address
    found: dict[str, list[bytes]] = {"datagram": [], "stream": [], "snapshot": []}
    packets: dict[bytes, None] = {}

    class Recorded(rings.Ring):
        """A ring whose stream bodies are kept."""

        def drain(self, index: int) -> None:
            super().drain(index)
            for entry in self.queue:
                packets[entry[4]] = None

    ring = Recorded(0)
    for index in range(6):
        ring.start(index, seeds=[1] if index != 1 else [], epoch=1)
    for step in range(80):
        ring.run(0.15)
        writer = ring.nodes[1 + step % 2]
        for kind in (1, 64, 128, 160):
            if kind < 128 or step % 4 == 0:
                writer.publish(kind, b"k%d" % (step % 7), bytes([step]) * 8 * (step % 6), ring.now)
        if step == 30:
            writer.publish(64, b"large", bytes(1_500), ring.now)
        if step == 20:
            writer.retract(1, b"k1", ring.now)
        ring.drain(1 + step % 2)
        if step == 10:
            ring.stop(5)
        if step == 50:
            ring.nodes[4].leave(ring.now)
            ring.drain(4)
        if step == 60:
            ring.start(5, seeds=[1], epoch=2)
    spaced = list(packets)[:: max(1, len(packets) // 400)]
    found["datagram"] = [_framed(0, data) for data in spaced]
    found["datagram"] += [
        b"".join(_framed(step % 16, data) for step, data in enumerate(spaced[at : at + 4]))
        for at in range(0, len(spaced), 4)
    ]
    # Digests differ too rarely in so small a ring.
    found["datagram"].append(_framed(0, targets.packet(1, [12, bytes(range(256)) * 4])))
    for index in (1, 2):
        body = ring.nodes[index].snapshot()
        found["snapshot"].append(body)
    # No helper is asked in a ring without loss.
    relayed = [5, 7, int.from_bytes(targets.member_id(2)[:8], "big"), 1, 0]
    found["datagram"].append(_framed(0, targets.packet(1, relayed)))
    # Welcomes that name others; one address is cut short.
    for named in (targets.address(2), targets.address(7) + targets.address(8), bytes(17)):
        for answer in ([11, named], [11]):
            body = targets.packet(1, answer, targets.card(1))
            found["datagram"].append(_framed(0, body))
    found["stream"] += comparisons()
    for tag, extra in ((13, [targets.card(1)]), (15, [targets.card(2)])):
        body = targets.packet(
            1,
            [tag, b"\xff" * 16],
            *extra,
            [8, 1, b"k", targets.member_id(1), 1, 1, b"v", 0],
            [9, 64, b"l", targets.member_id(1), 9, 0, 1500, 77],
        )
        found["stream"] += [bytes([choice]) + body for choice in (0, 1)]
        found["stream"].append(b"\x02" + len(body).to_bytes(4, "big") + body)
    pull = targets.packet(1, [14, 1, b"key", targets.member_id(0), 1, 1, 0])
    found["stream"].append(b"\x00" + pull)
    return found


def comparisons() -> list[bytes]:
    """Requests to compare and their answers, as nodes write them: of a newcomer, of all buckets, of
    the last changes; with lists that lack entries and lists that have others."""
    found = []
    asked = targets.acquainted()
    for seen in (0, 1, 5):
        asker = targets.acquainted()
        for index in range(3, 3 + seen):
            body = targets.packet(1, targets.card(index))
            asker.handle_datagram(body, targets.address(1), 0)
        # Digests that differ: in silence buckets are said, and the other's make it list.
        body = targets.packet(1, [12, bytes(1024)])
        asker.handle_datagram(body, targets.address(1), targets.SECOND)
        request = asker.poll_request()
        assert request is not None
        answer = asked.handle_request(request[2], targets.address(0), targets.SECOND)
        found += [b"\x00" + request[2], b"\x01" + answer]
        found.append(b"\x02" + len(request[2]).to_bytes(4, "big") + request[2])
    wanted = b"".join(targets.member_id(index)[:8] for index in (0, 1, 2, 9))
    listed = b"".join(targets.member_id(index)[:8] + bytes(4) for index in (0, 1, 9))
    for message in (
        [16, b"\xff" * 16, 0, b""],
        [16, b"\xff" * 16, 32, listed],
        [16, bytes(range(16)), 7, listed + b"x"],
        [16, b"\xff" * 16, 3, listed, 5_000],
    ):
        found.append(b"\x00" + targets.packet(1, message))
        found.append(b"\x00" + targets.packet(1, message, targets.card(5)))
    for message in ([15, b"\xff" * 16, wanted], [15, b"\xff" * 16, b"", 9]):
        found.append(b"\x01" + targets.packet(1, message, targets.card(1), targets.card(7)))
    return found


def _framed(control: int, data: bytes) -> bytes:
    return bytes([control]) + len(data).to_bytes(2, "big") + data


def complete(chosen: list[bytes], inputs: list[bytes]) -> list[bytes]:
    """Chosen inputs, with the shortest of the recorded for each kind of message that none has."""
    for data in sorted(inputs, key=lambda one: (len(one), one)):
        if not targets.tags_in(data) <= set().union(*map(targets.tags_in, chosen)):
            chosen = [*chosen, data]
    return chosen


def main() -> None:
    """Write the corpus of every target."""
    options = argparse.ArgumentParser(description=main.__doc__)
    options.add_argument("--seconds", type=int, default=60, help="of fuzzing per target")
    given = options.parse_args()
    compiler = instrument.clang()
    if compiler is None:
        sys.exit("clang is needed to minimise the corpus")
    instrument.build(compiler)
    for target, inputs in traffic().items():
        with tempfile.TemporaryDirectory() as scratch:
            folders = [Path(scratch, name) for name in ("found", "raw", "kept")]
            for folder in folders:
                folder.mkdir()
            for number, data in enumerate(inputs):
                (folders[1] / str(number)).write_bytes(data)
            program = Path(scratch, "program")
            guided = Path(__file__).with_name("guided.py")
            program.write_text(f'#!/bin/sh\nexec {sys.executable} {guided} {target} "$@"\n')
            program.chmod(0o755)
            environment = dict(
                os.environ,
                PYTHONPATH=f"{instrument.COPY}{os.pathsep}{ROOT}",
                FUZZ_PROGRAM=str(program),
            )
            limits = [f"-max_len={INPUT_BYTES_MAX}", "-verbosity=0"]
            for arguments in (
                [f"-max_total_time={given.seconds}", *map(str, folders[:2])],
                ["-merge=1", str(folders[2]), str(folders[1]), str(folders[0])],
            ):
                subprocess.run([str(program), *limits, *arguments], env=environment, check=True)
            kept = sorted(folders[2].iterdir(), key=lambda file: -file.stat().st_size)
            kept = [file for file in kept if file.stat().st_size <= INPUT_BYTES_MAX]
            folder = instrument.CORPUS / target
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.iterdir():
                old.unlink()
            chosen = [file.read_bytes() for file in kept[:: max(1, -(-len(kept) // INPUTS_MAX))]]
            for number, data in enumerate(complete(chosen, inputs)):
                (folder / f"{number:03}").write_bytes(data)
            print(f"{target}: {len(inputs)} recorded, {len(kept)} with coverage of their own")


if __name__ == "__main__":
    main()
