"""Rendering to disk: all or nothing, only what differs, atomically, nothing that is not ours."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sup.edge import render_files
from sup.edge.package_dir import Package, TemplateFile
from sup.edge.render_files import (
    CompiledPackage,
    RenderedFile,
    compile_package,
    needs_render,
    render,
    render_all,
    write_rendered,
)
from sup.errors import ExitCode, OperatorError
from sup.model.plan import parse_plan
from sup.model.service_paths import ServicePaths
from sup.policies import Rendered, TemplateError


class _Upper:
    """A tiny language: ``<a.b>`` is the value at that path; ``!`` can't be compiled."""

    def compile(self, source: str, file: str, *, strict: bool) -> _Template:
        if "!" in source:
            at = source.index("!")
            line = source.count("\n", 0, at) + 1
            raise TemplateError("no '!' here", file=file, line=line, column=at + 1)
        return _Template(source, file, strict)


class _Template:
    def __init__(self, source: str, file: str, strict: bool) -> None:
        self._source, self._file, self._strict = source, file, strict

    def render(self, context: Mapping[str, Any]) -> Rendered:
        reads = set()

        def value(match: re.Match[str]) -> str:
            reads.add(match[1])
            found: Any = context
            for key in match[1].split("."):
                found = found.get(key) if isinstance(found, Mapping) else None
            if found is None and self._strict:
                at = match.start() + 1
                raise TemplateError(f"{match[1]} is undefined", file=self._file, line=1, column=at)
            return "" if found is None else str(found)

        return Rendered(re.sub(r"<([\w.]+)>", value, self._source), frozenset(reads))


RENDERERS = {"": _Upper()}


def _package(files: Mapping[str, str], *, strict: bool = True, mode: int = 0o644) -> Package:
    text = f'[package]\nname="a"\n[service]\ncommand="x"\nstrict={str(strict).lower()}'
    sources = [
        TemplateFile(name, source, 0o755 if name.startswith("hooks/") else mode, f"/pkg/{name}")
        for name, source in sorted(files.items())
    ]
    return Package(
        parse_plan(text.encode(), "plan.toml"),
        templates=tuple(s for s in sources if s.name.startswith("config/")),
        hooks=tuple(s for s in sources if s.name.startswith("hooks/")),
    )


def _compiled(files: Mapping[str, str], **more: Any) -> CompiledPackage:
    return compile_package(_package(files, **more), RENDERERS)


@pytest.fixture
def paths(tmp_path: Path) -> ServicePaths:
    return ServicePaths.of(tmp_path, "a")


def _tree(paths: ServicePaths) -> dict[str, str]:
    return {
        str(path.relative_to(paths.root)): path.read_text()
        for path in sorted(paths.root.rglob("*"))
        if path.is_file() and path != paths.rendered
    }


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


FILES = {"config/a.conf": "port <cfg.port>", "config/d/b": "text", "hooks/run": "exec <cfg.cmd>"}
CONTEXT = {"cfg": {"port": 80, "cmd": "x", "other": 1}}


def test_render_all_first_time_writes_every_file(paths: ServicePaths) -> None:
    """Nested directories are kept; the result says what was written and what was read."""
    result = render_all(_compiled(FILES), CONTEXT, paths)
    assert _tree(paths) == {"config/a.conf": "port 80", "config/d/b": "text", "hooks/run": "exec x"}
    assert result.changed == FILES.keys()
    assert result.reads["config/a.conf"] == {"cfg.port"}
    assert result.reads["config/d/b"] == frozenset()
    assert result.config_changed
    assert result.hooks_changed == {"run"}


def test_render_all_again_touches_nothing(paths: ServicePaths) -> None:
    """Same bytes: same inode, same times, for every file there is."""
    compiled = _compiled(FILES)
    render_all(compiled, CONTEXT, paths)
    before = {p: (p.lstat().st_ino, p.lstat().st_mtime_ns) for p in paths.root.rglob("*")}
    result = render_all(compiled, {"cfg": {**CONTEXT["cfg"], "other": 2}}, paths)
    assert {p: (p.lstat().st_ino, p.lstat().st_mtime_ns) for p in paths.root.rglob("*")} == before
    assert result.changed == frozenset()
    assert result.unchanged == FILES.keys()
    assert not result.config_changed
    assert result.hooks_changed == frozenset()


def test_render_all_after_change_writes_only_what_differs(paths: ServicePaths) -> None:
    """The others keep their inode; a reader of the old file keeps the old bytes."""
    compiled = _compiled(FILES)
    render_all(compiled, CONTEXT, paths)
    inode = (paths.root / "config/d/b").stat().st_ino
    with open(paths.root / "config/a.conf") as reader:
        result = render_all(compiled, {"cfg": {"port": 81, "cmd": "x"}}, paths)
        assert reader.read() == "port 80"
    assert result.changed == {"config/a.conf"}
    assert result.hooks_changed == frozenset()
    assert (paths.root / "config/a.conf").read_text() == "port 81"
    assert (paths.root / "config/d/b").stat().st_ino == inode


def test_render_all_one_template_fails_nothing_is_written(paths: ServicePaths) -> None:
    """Also not the files that come before it by name, and no directory."""
    with pytest.raises(OperatorError) as caught:
        render_all(_compiled(FILES), {"cfg": {"port": 80}}, paths)
    assert caught.value.message == "/pkg/hooks/run:1:6: cfg.cmd is undefined"
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert not paths.root.exists()


def test_render_all_passes_strictness_of_the_plan(paths: ServicePaths) -> None:
    """``strict = false`` renders an undefined value as nothing."""
    render_all(_compiled(FILES, strict=False), {}, paths)
    assert (paths.root / "config/a.conf").read_text() == "port "


def test_render_all_removes_files_of_templates_that_are_gone(paths: ServicePaths) -> None:
    """With the directories that became empty; what the service itself wrote stays."""
    render_all(_compiled({**FILES, "config/e/f/g": "x", "hooks/init": ""}), CONTEXT, paths)
    (paths.config / "nodes.conf").write_text("mine")
    (paths.config / "d" / "cache").write_text("mine")
    result = render_all(_compiled({"config/a.conf": "x", "hooks/run": "y"}), CONTEXT, paths)
    assert result.removed == {"config/d/b", "config/e/f/g", "hooks/init"}
    assert result.hooks_changed == {"run", "init"}
    assert _tree(paths) == {
        "config/a.conf": "x",
        "config/d/cache": "mine",
        "config/nodes.conf": "mine",
        "hooks/run": "y",
    }
    assert not (paths.config / "e").exists()


def test_render_all_file_becomes_directory_and_back(paths: ServicePaths) -> None:
    """A new release may turn ``x`` into ``x/y``: the old file makes way."""
    render_all(_compiled({"config/x": "1"}), {}, paths)
    result = render_all(_compiled({"config/x/y": "2"}), {}, paths)
    assert _tree(paths) == {"config/x/y": "2"}
    assert result.removed == {"config/x"}
    render_all(_compiled({"config/x": "3"}), {}, paths)
    assert _tree(paths) == {"config/x": "3"}


def test_render_all_directory_in_the_place_of_a_file_is_an_error(paths: ServicePaths) -> None:
    """The operator's directory is not removed, and no descriptor stays open for it."""
    (paths.config / "x").mkdir(parents=True)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(OperatorError, match=r"config/x: can't write rendered file: Is a dir"):
            render_all(_compiled({"config/x": "1"}), {}, paths)
    assert len(os.listdir("/proc/self/fd")) == before
    assert (paths.config / "x").is_dir()


def test_render_all_never_removes_what_a_forged_list_names(paths: ServicePaths) -> None:
    """Lines that lead out of config/ and hooks/ are ignored."""
    render_all(_compiled(FILES), CONTEXT, paths)
    (paths.root / "user.toml").write_text("a = 1")
    outside = paths.root.parent / "outside"
    outside.write_text("x")
    paths.rendered.write_text(
        f"user.toml\nconfig/../user.toml\n../outside\n{outside}\n/etc/x\nconfig\nconfig/\n\n"
    )
    assert render_all(_compiled(FILES), CONTEXT, paths).removed == frozenset()
    assert (paths.root / "user.toml").exists()
    assert outside.exists()


def test_render_all_stale_removal_does_not_follow_linked_directory(paths: ServicePaths) -> None:
    """A service can't make the supervisor delete files elsewhere by linking a directory."""
    render_all(_compiled(FILES), CONTEXT, paths)
    elsewhere = paths.root.parent / "elsewhere"
    (paths.config / "d").rename(elsewhere)
    (paths.config / "d").symlink_to(elsewhere)
    result = render_all(_compiled({"config/a.conf": "x"}), CONTEXT, paths)
    assert (elsewhere / "b").read_text() == "text"
    assert "config/d/b" not in result.removed


def test_render_all_linked_directory_or_file_is_not_written_through(paths: ServicePaths) -> None:
    """A file that became a link is replaced; a directory that did is an error."""
    render_all(_compiled(FILES), CONTEXT, paths)
    victim = paths.root.parent / "victim"
    victim.write_text("port 80")
    (paths.config / "a.conf").unlink()
    (paths.config / "a.conf").symlink_to(victim)
    render_all(_compiled(FILES), CONTEXT, paths)
    assert not (paths.config / "a.conf").is_symlink()
    assert victim.read_text() == "port 80"
    (paths.config / "d" / "b").unlink()
    (paths.config / "d").rmdir()
    (paths.config / "d").symlink_to(paths.root.parent)
    with pytest.raises(OperatorError, match=r"config/d: can't write rendered file") as caught:
        render_all(_compiled(FILES), CONTEXT, paths)
    assert caught.value.exit_code is ExitCode.FAILED
    assert not (paths.root.parent / "b").exists()


def test_render_all_modes_are_independent_of_umask(paths: ServicePaths) -> None:
    """Config 0640 (0750 where the source is executable), hooks 0750, directories 0750."""
    old = os.umask(0o077)
    try:
        render_all(_compiled(FILES), CONTEXT, paths)
        os.umask(0)
        render_all(_compiled({**FILES, "config/s/x.sh": ""}, mode=0o755), CONTEXT, paths)
    finally:
        os.umask(old)
    modes = {name: _mode(paths.root / name) for name in ("config", "config/d", "config/s", "hooks")}
    assert set(modes.values()) == {0o750}
    assert _mode(paths.config / "s" / "x.sh") == 0o750
    assert _mode(paths.hook("run")) == 0o750
    assert _mode(paths.rendered) == 0o600
    render_all(_compiled(FILES), CONTEXT, paths)
    assert _mode(paths.config / "a.conf") == 0o640


def test_render_all_mends_mode_without_calling_it_a_change(paths: ServicePaths) -> None:
    """A mode that somebody widened is set back; the service is not restarted for it."""
    render_all(_compiled(FILES), CONTEXT, paths)
    (paths.config / "a.conf").chmod(0o666)
    assert render_all(_compiled(FILES), CONTEXT, paths).changed == frozenset()
    assert _mode(paths.config / "a.conf") == 0o640


def test_render_all_opens_directories_that_others_made_too_closed(paths: ServicePaths) -> None:
    """The service's group must be able to enter; rights beyond that are left as they are."""
    paths.config.mkdir(parents=True, mode=0o700)
    paths.root.chmod(0o711)
    render_all(_compiled(FILES), CONTEXT, paths)
    assert (_mode(paths.config), _mode(paths.root)) == (0o750, 0o751)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_render_all_gives_files_to_the_owner_and_directories_to_its_group(
    paths: ServicePaths,
) -> None:
    """Files belong to the service; directories stay the supervisor's."""
    render_all(_compiled(FILES), CONTEXT, paths, (12345, 23456))
    for name in ("config/a.conf", "config/d/b", "hooks/run"):
        status = (paths.root / name).stat()
        assert (status.st_uid, status.st_gid) == (12345, 23456)
    for name in ("", "config", "config/d", "hooks"):
        status = (paths.root / name).stat()
        assert (status.st_uid, status.st_gid) == (0, 23456)
    os.chown(paths.config / "a.conf", 1, 1)
    assert render_all(_compiled(FILES), CONTEXT, paths, (12345, 23456)).changed == frozenset()
    assert (paths.config / "a.conf").stat().st_uid == 12345


def test_render_all_mode_and_owner_are_set_before_the_file_appears(
    paths: ServicePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the moment of the rename the new file is complete, synced and has its mode."""
    steps: list[str] = []
    rename, fsync = os.rename, os.fsync

    def recorded_rename(source: Path, target: Path) -> None:
        steps.append(f"rename {target.name} {_mode(source):o} {source.read_text()}")
        rename(source, target)

    def recorded_fsync(descriptor: int) -> None:
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        steps.append(f"sync {kind}")
        fsync(descriptor)

    monkeypatch.setattr(os, "rename", recorded_rename)
    monkeypatch.setattr(os, "fsync", recorded_fsync)
    render_all(_compiled({"config/a": "x"}), {}, paths)
    at = steps.index("rename a 640 x")
    assert steps[at - 1] == "sync file"
    assert steps[at + 1] == "sync directory"


def test_render_all_killed_between_open_and_rename_is_mended(
    paths: ServicePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A left-over temporary file neither stops the next render nor stays."""
    paths.config.mkdir(parents=True)
    (paths.config / ".a.conf.sup-new").write_text("half")
    render_all(_compiled(FILES), CONTEXT, paths)
    assert sorted(p.name for p in paths.config.iterdir()) == ["a.conf", "d"]


def test_render_all_failing_disk_leaves_whole_files_and_the_next_call_mends(
    paths: ServicePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second rename fails: no temporary file stays, the old file is whole, a retry finishes."""
    compiled = _compiled({"config/a": "<v>", "config/b": "<v>"})
    render_all(compiled, {"v": 1}, paths)
    rename = os.rename

    def failing(source: Path, target: Path) -> None:
        if target.name == "b":
            raise OSError(28, "No space left on device", str(target))
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing)
        with pytest.raises(OperatorError, match="config/b: can't write rendered file: No space"):
            render_all(compiled, {"v": 2}, paths)
    assert _tree(paths) == {"config/a": "2", "config/b": "1"}
    assert render_all(compiled, {"v": 2}, paths).changed == {"config/b"}


def test_render_all_crash_after_first_write_still_knows_its_files(
    paths: ServicePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is written before the files, so a crash leaves no file that nobody would remove."""
    compiled = _compiled({"config/a": "1", "config/b": "2"})
    replace = render_files._replace

    def crash(path: Path, *rest: Any) -> None:
        if path.name == "b":
            raise KeyboardInterrupt
        replace(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(render_files, "_replace", crash)
        with pytest.raises(KeyboardInterrupt):
            render_all(compiled, {}, paths)
    assert render_all(_compiled({"config/b": "2"}), {}, paths).removed == {"config/a"}


def test_compile_error_names_file_line_and_column() -> None:
    """A template's mistake is found when the package is loaded."""
    with pytest.raises(OperatorError) as caught:
        _compiled({"config/a.conf": "ab!"})
    assert caught.value.message == "/pkg/config/a.conf:1:3: no '!' here"


def test_compile_suffix_chooses_renderer_and_is_removed(paths: ServicePaths) -> None:
    """The longest suffix with a renderer; another suffix is part of the name."""
    package = _package({"config/a.conf.j2": "<v>", "config/b.conf": "<v>", "hooks/run.j2": "r"})
    compiled = compile_package(package, {**RENDERERS, ".j2": _Upper()})
    assert [f.target for f in compiled.files] == ["config/a.conf", "config/b.conf", "hooks/run"]
    assert compiled.hooks == {"run"}


@pytest.mark.parametrize("name", ["config/a.conf.j2", "hooks/run.j2"])
def test_compile_known_suffix_without_renderer_names_the_plugin(name: str) -> None:
    """The likely remedy is in the line."""
    with pytest.raises(OperatorError) as caught:
        _compiled({name: "x"})
    assert caught.value.message == f"/pkg/{name}: .j2 needs --plugin jinja"


def test_compile_hook_with_unknown_suffix_is_refused() -> None:
    """``run.sh`` would never be run."""
    with pytest.raises(OperatorError) as caught:
        _compiled({"hooks/run.sh": "x"})
    assert caught.value.message == (
        "/pkg/hooks/run.sh: no renderer for .sh (active: none); name a shell hook hooks/run"
    )


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("config/a", "config/a.j2"), "renders to config/a, as config/a does; rename one of them"),
        (("config/a.j2", "config/a/b"), "needs directory config/a, which config/a.j2 renders as"),
    ],
)
def test_compile_two_templates_for_one_place_are_refused(names: tuple[str, ...], says: str) -> None:
    """No template silently wins over another."""
    package = _package(dict.fromkeys(names, "x"))
    with pytest.raises(OperatorError, match=re.escape(says)):
        compile_package(package, {**RENDERERS, ".j2": _Upper()})


def test_render_result_over_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A template can't fill the disk."""
    monkeypatch.setattr(render_files, "RENDERED_BYTES_MAX", 10)
    compiled = _compiled({"config/a": "<v>"})
    assert render(compiled, {"v": "x" * 10})[0].data == b"x" * 10
    with pytest.raises(OperatorError, match="config/a: renders to 11 bytes, limit is 10"):
        render(compiled, {"v": "x" * 11})


def test_render_lone_surrogate_is_refused() -> None:
    """Text that has no bytes is one line, not a traceback."""
    with pytest.raises(OperatorError, match="a value is not valid text"):
        render(_compiled({"config/a": "<v>"}), {"v": "\udcff"})


def test_write_rendered_empty_package_makes_directories(paths: ServicePaths) -> None:
    """A wrapped command has no files; its directories are there all the same."""
    result = write_rendered((), paths)
    assert (result.changed, result.removed) == (frozenset(), frozenset())
    assert paths.config.is_dir()
    assert paths.hooks.is_dir()


def test_write_rendered_binary_safe(paths: ServicePaths) -> None:
    """Bytes are bytes: line ends are not translated."""
    write_rendered([RenderedFile("config/a", b"a\r\nb\0", 0o640, frozenset())], paths)
    assert (paths.config / "a").read_bytes() == b"a\r\nb\0"


@pytest.mark.parametrize(
    ("read", "differs"),
    [
        ("cfg.port", True),
        ("cfg", True),
        ("cfg.host", False),
        ("svc.members", True),
        ("svc.members.0.ip", False),
        ("svc.members.1.ip", True),
        ("svc.members.7.ip", True),
        ("svc.me.ip", False),
        ("svc.me.dotted.key", False),
        ("cfg.dotted.key", True),
        ("this", True),
        ("", True),
    ],
)
def test_needs_render_compares_what_was_read(read: str, differs: bool) -> None:
    """A value that was not read does not matter; where a path is not clear, it renders."""
    me = {"ip": "1"}
    old = {"cfg": {"port": 1, "host": "x"}, "svc": {"me": me, "members": [{"ip": "1"}]}}
    new = {
        "cfg": {"port": 2, "host": "x"},
        "svc": {"me": dict(me), "members": [{"ip": "1"}, {"ip": "2"}]},
    }
    reads = {"config/a": frozenset({read}), "config/b": frozenset[str]()}
    assert needs_render(reads, old, new) is differs


def test_needs_render_of_nothing_read_is_false() -> None:
    """Constant files never render again."""
    assert not needs_render({"config/a": frozenset()}, {"a": 1}, {"a": 2})
    assert not needs_render({}, {"a": 1}, {"a": 2})
