"""The memory of installed releases: once per release, whatever happens to the file."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sup.edge.package_dir import load_package
from sup.edge.releases import RELEASES_MAX, Releases, package_of, release_digest


def test_releases_survive_a_new_reader(tmp_path: Path) -> None:
    """What was added is there for the next supervisor; another digest is another release."""
    Releases(tmp_path).add("me/web/1", "aa")
    again = Releases(tmp_path)
    assert again.has("me/web/1", "aa")
    assert not again.has("me/web/1", "bb")
    assert not again.has("me/web/2", "aa")


def test_forget_takes_every_release_of_the_package_and_no_other(tmp_path: Path) -> None:
    """Unloading the last service of a package forgets its older releases, too."""
    releases = Releases(tmp_path)
    for ident in ("me/web/1", "me/web/2", "me/webb/1"):
        releases.add(ident, "aa")
    releases.forget(package_of("me/web/2"))
    again = Releases(tmp_path)
    assert [again.has(i, "aa") for i in ("me/web/1", "me/web/2", "me/webb/1")] == [0, 0, 1]


def test_file_cut_at_any_byte_is_whole_or_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A crash in the middle of a write never ends a start: it reads as empty, with a message."""
    caplog.set_level(logging.ERROR)
    Releases(tmp_path).add("me/web/1", "aa")
    whole = (tmp_path / "releases").read_bytes()
    for size in range(len(whole)):
        (tmp_path / "releases").write_bytes(whole[:size])
        caplog.clear()
        releases = Releases(tmp_path)
        assert not releases.has("me/web/1", "aa")
        assert "damaged" in caplog.text
        assert not (tmp_path / "releases").exists()
    (tmp_path / "releases").write_bytes(whole)
    assert Releases(tmp_path).has("me/web/1", "aa")


def test_releases_beyond_the_limit_forget_the_oldest(tmp_path: Path) -> None:
    """The list is bounded."""
    releases = Releases(tmp_path)
    releases._rows = []
    releases.add("me/first/1", "aa")
    filler = releases._read()[0]
    releases._rows = [filler, *([filler] * (RELEASES_MAX - 1))]
    releases.add("me/last/1", "aa")
    assert len(releases._read()) == RELEASES_MAX
    assert releases.has("me/last/1", "aa")


def test_digest_follows_every_part_of_the_package(tmp_path: Path) -> None:
    """An edit of the plan, a default, a template or a hook makes another release."""
    package = tmp_path / "web"
    (package / "hooks").mkdir(parents=True)
    (package / "config").mkdir()
    (package / "plan.toml").write_text('[package]\nname="web"\n')
    (package / "default.toml").write_text("port = 1\n")
    (package / "config" / "a").write_text("x")
    run = package / "hooks" / "run"
    run.write_text("#!/bin/sh\n")
    run.chmod(0o755)
    seen = {release_digest(load_package(package))}
    assert release_digest(load_package(package)) in seen
    for file in ("plan.toml", "default.toml", "config/a", "hooks/run"):
        with (package / file).open("a") as stream:
            stream.write("# more\n" if file != "default.toml" else "more = 1\n")
        seen.add(release_digest(load_package(package)))
    assert len(seen) == 5
