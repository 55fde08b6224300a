"""The power-loss model, service files: each of them cut at every byte, missing, or garbage, is the
old one, the new one, or set aside with a message; and the service starts.

The files of the state directory itself (epoch, identity, rumors, ring) are held to the same in
``tests/edge/test_state_files.py``; a whole supervisor in ``tests/e2e/test_power_loss.py``.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest
from tests.service.conftest import Workshop, until

from sup.edge.processes import ProcessIdentity, load_identity, save_identity
from sup.edge.render_files import RenderedFile, write_rendered
from sup.edge.state_files import read_sealed, write_sealed
from sup.maintenance import Maintenance
from sup.model.death_tally import Death, DeathTally, Outcome, decode_tally, encode_tally
from sup.model.restart import Cause
from sup.model.service_paths import ServicePaths
from sup.model.spec import Spec
from sup.service_specs import SpecFiles

IDENTITY = ProcessIdentity(77, 123456, "0" * 36, "mark.1", "start config")
TALLY = DeathTally(
    (Death(Cause.EXIT, "ended with code 1", 1_700_000_000, 0.5),),
    1,
    Outcome(True, "completed", "boot", "key"),
)
SPEC = Spec("web", command=["sleep", "60"], desired="down", after={"db": "healthy"})


def damaged(data: bytes) -> list[bytes | None]:
    """Every truncation, garbage, and no file at all."""
    garbage = [b"\0" * len(data), os.urandom(len(data)), b"[" * 5000, data + data, b"\xff\xfe"]
    return [*(data[:length] for length in range(len(data))), *garbage, None]


def put(path: Path, data: bytes | None) -> None:
    """Make the file so."""
    for old in path.parent.glob(f"{path.name}.corrupt-*"):
        old.unlink()
    path.unlink(missing_ok=True)
    if data is not None:
        path.write_bytes(data)


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of files, none of which has to outlive this test."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def test_tally_damaged_anywhere_is_whole_or_set_aside(tmp_path: Path) -> None:
    """The checksum tells; the damaged file is kept for a post-mortem."""
    path = tmp_path / "tally"
    write_sealed(path, encode_tally(TALLY), "tally")
    whole = path.read_bytes()
    for data in damaged(whole):
        put(path, data)
        payload, problem = read_sealed(path, "tally")
        assert payload is None
        if data is None:
            assert problem == ""
        else:
            assert "tally is damaged" in problem
            assert (tmp_path / "tally.corrupt-1").read_bytes() == data
    put(path, whole)
    payload, _ = read_sealed(path, "tally")
    assert payload is not None
    assert decode_tally(payload) == TALLY


def test_process_record_damaged_anywhere_names_no_other_process(tmp_path: Path) -> None:
    """Half a record must never lead to the adoption, or the killing, of a stranger."""
    path = tmp_path / "process.json"
    save_identity(path, IDENTITY)
    whole = path.read_bytes()
    for data in damaged(whole):
        put(path, data)
        assert load_identity(path) is None
    put(path, whole)
    assert load_identity(path) == IDENTITY


def test_spec_damaged_anywhere_is_a_warning_and_keeps_what_runs(tmp_path: Path) -> None:
    """TOML cut at a line end would be another spec: it would bring up what is wanted down."""
    files = SpecFiles(tmp_path)
    files.write(SPEC)
    path = tmp_path / "web.toml"
    whole = path.read_bytes()
    for data in damaged(whole):
        put(path, data)
        os.utime(path, ns=(1, 1)) if data is not None else None
        fresh = SpecFiles(tmp_path)
        if data is not None and data.rstrip() == whole.rstrip():
            assert fresh.read({}) == {"web": SPEC}  # only the last line end is gone
            continue
        assert fresh.read({}) == {}
        assert len(fresh.warnings) == (data is not None)
        if data is not None:
            assert fresh.read({"web": SPEC}) == {"web": SPEC}
            assert "\n" not in fresh.warnings[0]


def test_spec_written_by_hand_needs_no_last_line(tmp_path: Path) -> None:
    """The mark is for files of ours; an edited one keeps it, a new one has none."""
    (tmp_path / "web.toml").write_text('name = "web"\ncommand = ["true"]\n')
    assert SpecFiles(tmp_path).read({}) == {"web": Spec("web", command=["true"])}


async def test_maintenance_damaged_anywhere_is_whole_or_set_aside(tmp_path: Path) -> None:
    """Nobody stays out of use for a file that nobody can read, and it is said."""
    path = tmp_path / "maintenance"
    await Maintenance(path).begin("web", "disk swap", None)
    whole = path.read_bytes()
    for data in damaged(whole):
        put(path, data)
        found = Maintenance(path)
        assert found.reason("web") == ""
        assert len(found.warnings) == (data is not None)
    put(path, whole)
    assert Maintenance(path).reason("web")


def test_list_of_rendered_files_damaged_anywhere_removes_nothing_of_others(
    tmp_path: Path,
) -> None:
    """What a stale list loses stays on the disk; a stranger's file is never removed."""
    paths = ServicePaths(tmp_path / "web")
    files = [RenderedFile(f"config/{name}", b"x", 0o640, frozenset()) for name in ("a", "ab")]
    write_rendered(files, paths)
    stranger = paths.config / "stranger"
    stranger.write_text("mine")
    for data in damaged(paths.rendered.read_bytes()):
        put(paths.rendered, data)
        write_rendered(files, paths)
        assert sorted(p.name for p in paths.config.iterdir()) == ["a", "ab", "stranger"]


@pytest.mark.parametrize("kind", ["process_json", "tally", "rendered", "pid_file"])
@pytest.mark.parametrize("cut", [0.0, 0.5, 0.99])
async def test_service_starts_whatever_happened_to_its_files(
    workshop: Workshop,
    kind: str,
    cut: float,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A running service's files are cut; the next supervisor has exactly one tree again."""
    workshop.package(hooks__run='echo x >> "$SUP_DATA_DIR/runs"; exec sleep 60')
    first = workshop.up()
    await until(lambda: first.status().process == "up" and workshop.paths.pid_file.exists())
    await until(workshop.paths.process_json.exists)
    await first.detach()
    path = getattr(workshop.paths, kind)
    if kind == "tally":
        write_sealed(path, encode_tally(TALLY), "tally")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(cut * len(whole))])
    with caplog.at_level(logging.WARNING):
        second = workshop.up()
        await until(lambda: second.status().process == "up")
    await until(lambda: len(workshop.lines("runs")) >= (2 if kind == "process_json" else 1))
    await asyncio.sleep(0.1)
    assert len(workshop.lines("runs")) == (2 if kind == "process_json" else 1)
    if kind in ("process_json", "tally"):
        assert any("damaged" in record.getMessage() for record in caplog.records)
        assert path.with_name(f"{path.name}.corrupt-1").exists()
