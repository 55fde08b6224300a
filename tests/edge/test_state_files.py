"""The state directory: a crash, a flipped bit, a second supervisor, another ring."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.edge import state_files
from sup.edge.identity import ID_FILE, KEY_FILE, derive_member_id, open_identity
from sup.edge.state_files import (
    QUARANTINED_MAX,
    CorruptStateError,
    StateDir,
    quarantine,
    seal,
    unseal,
    write_durable,
    write_durable_keeping,
)
from sup.errors import ConflictError, ExitCode, OperatorError

FILES = ("ring", "epoch", "epoch.1", "rumors", "rumors.1", KEY_FILE, ID_FILE)


def start(path: Path) -> tuple[bytes, int, list[bytes], list[str]]:
    """What a supervisor does at its start; it must never fail because of damage."""
    state = StateDir.open(path, "default")
    try:
        member_id, epoch = open_identity(state)
        return member_id, epoch, [data for _, data in state.load_rumors()], state.warnings
    finally:
        state.close()


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory after two starts and two snapshots."""
    path = tmp_path_factory.mktemp("used") / "state"
    start(path)
    state = StateDir.open(path, "default")
    state.save_rumors(b"older snapshot")
    state.save_rumors(b"newer snapshot")
    state.close()
    start(path)
    return path


@pytest.fixture
def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys without the child process: the damage tests make hundreds."""

    def make(directory: Path) -> None:
        write_durable(directory / KEY_FILE, seal(os.urandom(64), KEY_FILE))

    monkeypatch.setattr("sup.edge.identity._make_key_in_child", make)


@given(payload=st.binary(max_size=300), kind=st.sampled_from(["epoch", "rumors"]))
def test_unseal_sealed_bytes_gives_the_payload(payload: bytes, kind: str) -> None:
    """Framing is transparent, and a file of one kind does not pass for another."""
    assert unseal(seal(payload, kind), kind) == payload
    with pytest.raises(CorruptStateError):
        unseal(seal(payload, kind), "ring")


@given(junk=st.binary(max_size=200))
def test_unseal_any_other_bytes_raises_corrupt(junk: bytes) -> None:
    """Whatever stands in a file, the only exception is the typed one."""
    with pytest.raises(CorruptStateError):
        unseal(junk, "rumors")


def damaged_copies(data: bytes) -> list[bytes]:
    truncated = [data[:length] for length in range(len(data))]
    flipped = []
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        flipped.append(bytes(changed))
    return [*truncated, *flipped, b"", data + b"x", b"\0" * len(data)]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.usefixtures("no_child")
def test_state_file_damaged_anywhere_start_succeeds_with_old_or_new(
    name: str, used: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Truncation at each byte and a flip in each byte: the start goes on, with nothing invented."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    # each start below works on a copy of its own
    member_before = bytes.fromhex((used / ID_FILE).read_text())
    epoch_before = int.from_bytes(unseal((used / "epoch").read_bytes(), "epoch"), "big")
    intact = (used / name).read_bytes()
    for number, data in enumerate(damaged_copies(intact)):
        path = tmp_path / str(number)
        shutil.copytree(used, path)
        (path / name).write_bytes(data)
        member_id, epoch, rumors, warnings = start(path)
        assert warnings, "damage was not reported"
        assert all("\n" not in line for line in warnings)
        if name != ID_FILE:
            assert (path / f"{name}.corrupt-1").read_bytes() == data
        assert set(rumors) <= {b"newer snapshot", b"older snapshot"}
        assert rumors
        if name == KEY_FILE:
            assert member_id != member_before
        else:
            assert member_id == member_before
            assert epoch == epoch_before + 1
        assert bytes.fromhex((path / ID_FILE).read_text()) == member_id
        assert start(path)[:2] == (member_id, epoch + 1)
        shutil.rmtree(path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.usefixtures("no_child")
def test_state_file_missing_start_succeeds(name: str, used: Path, tmp_path: Path) -> None:
    """A file that somebody removed is made again or done without."""
    path = tmp_path / "state"
    shutil.copytree(used, path)
    (path / name).unlink()
    member_id, epoch, _, _ = start(path)
    assert start(path)[:2] == (member_id, epoch + 1)


@pytest.mark.usefixtures("no_child")
def test_epoch_lost_in_both_copies_starts_as_a_new_member(used: Path, tmp_path: Path) -> None:
    """Under the old id a smaller epoch would be taken for the past; so it is a new member."""
    path = tmp_path / "state"
    shutil.copytree(used, path)
    before = bytes.fromhex((path / ID_FILE).read_text())
    for name in ("epoch", "epoch.1"):
        (path / name).write_bytes(b"junk")
    member_id, epoch, _, warnings = start(path)
    assert member_id != before
    assert epoch == 1
    assert any("new member" in line for line in warnings)


def test_epoch_crash_between_the_copies_is_not_repeated(tmp_path: Path) -> None:
    """A start that died while counting announced nothing; the next one is larger anyway."""
    state = StateDir.open(tmp_path, "default")
    assert [state.next_epoch(), state.next_epoch()] == [1, 2]
    state.write("epoch", (3).to_bytes(8, "big"))
    assert state.next_epoch() == 4
    state.close()


class Crash(BaseException):
    """Ends a write in the middle, as a power cut would."""


@pytest.mark.parametrize("step", ["write", "fsync", "rename", "link"])
def test_write_durable_crash_at_any_step_leaves_old_or_new(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever system call is the last, a reader finds one whole generation."""
    path, previous = tmp_path / "file", tmp_path / "file.1"
    real = getattr(os, step)
    for crash_at in range(1, 6):
        write_durable_keeping(path, previous, b"old")
        calls = 0

        def dying(*arguments: object, at: int = crash_at) -> object:
            nonlocal calls
            calls += 1
            if calls == at:
                raise Crash
            return real(*arguments)

        monkeypatch.setattr(os, step, dying)
        finished = False
        try:
            write_durable_keeping(path, previous, b"new")
            finished = True
        except Crash:
            pass
        monkeypatch.setattr(os, step, real)
        assert path.read_bytes() == b"new" if finished else path.read_bytes() in (b"old", b"new")


def test_write_durable_makes_a_private_file_and_leaves_no_other(tmp_path: Path) -> None:
    """0600 whatever the umask, and no temporary file stays."""
    write_durable(tmp_path / "key", b"secret")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_quarantine_many_times_is_bounded(tmp_path: Path) -> None:
    """Damage at every start does not fill the disk."""
    for number in range(QUARANTINED_MAX + 3):
        (tmp_path / "file").write_bytes(b"%d" % number)
        quarantine(tmp_path / "file")
    assert len(list(tmp_path.iterdir())) == QUARANTINED_MAX


def test_open_locked_directory_names_the_holder(tmp_path: Path) -> None:
    """Two supervisors on one state directory: exit 4 and the pid, also from another process."""
    state = StateDir.open(tmp_path, "default")
    program = (
        "import sys; from pathlib import Path; from sup.edge.state_files import StateDir\n"
        "from sup.errors import OperatorError\n"
        "try: StateDir.open(Path(sys.argv[1]), 'default')\n"
        "except OperatorError as error: print(error.message); sys.exit(error.exit_code)\n"
    )
    second = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert second.returncode == ExitCode.CONFLICT
    assert str(os.getpid()) in second.stdout
    state.close()
    StateDir.open(tmp_path, "default").close()


def test_open_directory_of_another_ring_is_a_conflict(tmp_path: Path) -> None:
    """Rumors of one ring never leak into another through a disk."""
    StateDir.open(tmp_path, "first").close()
    with pytest.raises(ConflictError, match="belongs to ring 'first', not 'second'"):
        StateDir.open(tmp_path, "second")
    StateDir.open(tmp_path, "first").close()


def test_open_unusable_directory_is_an_operator_error(tmp_path: Path) -> None:
    """A file in the place of the directory: one line that says which option helps."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match="--state-dir"):
        StateDir.open(tmp_path / "file", "default")


def test_lock_file_is_not_inherited(tmp_path: Path) -> None:
    """A service that outlives its supervisor must not hold the lock."""
    state = StateDir.open(tmp_path, "default")
    assert not os.get_inheritable(state._lock)
    state.close()


def test_identity_first_start_makes_a_key_in_a_child(tmp_path: Path) -> None:
    """The id follows from a real Ed25519 key, and this process never loads the library."""
    program = (
        "import sys; from pathlib import Path\n"
        "from sup.edge.state_files import StateDir\n"
        "from sup.edge.identity import open_identity\n"
        "member_id, epoch = open_identity(StateDir.open(Path(sys.argv[1]), 'default'))\n"
        "print(member_id.hex(), epoch, 'cryptography' in sys.modules)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    shown = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ]
    assert [one[1:] for one in shown] == [["1", "False"], ["2", "False"]]
    assert shown[0][0] == shown[1][0] == (tmp_path / ID_FILE).read_text().strip()
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = unseal((tmp_path / KEY_FILE).read_bytes(), KEY_FILE)
    public = Ed25519PrivateKey.from_private_bytes(key[:32]).public_key().public_bytes_raw()
    assert public == key[32:]
    assert derive_member_id(public).hex() == shown[0][0]


def test_identity_child_fails_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that can't make the key is an operator's error, not a traceback."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    state = StateDir.open(tmp_path, "default")
    with pytest.raises(OperatorError, match=KEY_FILE) as caught:
        open_identity(state)
    assert "\n" not in caught.value.message
    state.close()


def test_payload_limit_is_above_the_rumor_store() -> None:
    """A snapshot of a full store can be read back."""
    from sup_core.limits import RUMOR_BYTES_MAX

    assert state_files.PAYLOAD_BYTES_MAX >= 2 * RUMOR_BYTES_MAX
