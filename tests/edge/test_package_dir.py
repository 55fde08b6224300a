"""Reading a package directory: what is kept, and one line for everything that is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sup.edge.package_dir import (
    DEFAULT_BYTES_MAX,
    DIRECTORY_DEPTH_MAX,
    HOOK_NAMES,
    TEMPLATE_BYTES_MAX,
    TEMPLATES_MAX,
    load_package,
    package_for_command,
)
from sup.errors import ExitCode, OperatorError

RUN = "#!/bin/sh\nexec sleep 9\n"


def _write(path: Path, text: str | bytes, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small complete package."""
    directory = tmp_path / "redis"
    _write(directory / "plan.toml", '[package]\nname = "redis"\norigin = "acme"\nversion = "7"\n')
    _write(directory / "default.toml", "[server]\nport = 6379\n")
    _write(directory / "config" / "redis.conf", "port {{cfg.server.port}}\n", 0o600)
    _write(directory / "config" / "d" / "users.acl", "user\n")
    _write(directory / "hooks" / "run", RUN, 0o755)
    return directory


def _refused(directory: Path) -> str:
    with pytest.raises(OperatorError) as caught:
        load_package(directory)
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert "\n" not in caught.value.message
    return caught.value.message


def test_load_package_reads_everything_sorted(package: Path) -> None:
    """Names are relative, nested directories kept, modes and texts as they are."""
    loaded = load_package(package)
    assert loaded.plan.ident == "acme/redis/7"
    assert loaded.default == {"server": {"port": 6379}}
    assert [t.name for t in loaded.templates] == ["config/d/users.acl", "config/redis.conf"]
    assert loaded.templates[1].source == "port {{cfg.server.port}}\n"
    assert loaded.templates[1].mode == 0o600
    assert [(h.name, h.mode) for h in loaded.hooks] == [("hooks/run", 0o755)]
    assert loaded.hooks[0].path == str(package / "hooks" / "run")
    assert loaded.directory == package


def test_load_package_with_command_alone_needs_nothing_else(tmp_path: Path) -> None:
    """No default.toml, config or hooks: a plan with a command is a package."""
    _write(tmp_path / "plan.toml", '[package]\nname = "a"\n[service]\ncommand = ["true"]\n')
    loaded = load_package(tmp_path)
    assert (loaded.default, loaded.templates, loaded.hooks) == ({}, (), ())


def test_load_package_with_nothing_to_run_is_refused(package: Path) -> None:
    """Neither run hook nor command; a health-check hook is not enough."""
    (package / "hooks" / "run").rename(package / "hooks" / "health-check")
    assert "has neither hooks/run nor service.command in plan.toml" in _refused(package)


def test_load_package_of_missing_or_wrong_place_is_refused(tmp_path: Path) -> None:
    """What is there instead is said."""
    assert _refused(tmp_path / "no").endswith("no such file or directory; give a package directory")
    file = _write(tmp_path / "file", "")
    assert "is not a directory" in _refused(file)
    assert "has no plan.toml; write one" in _refused(tmp_path)
    _write(tmp_path / "plan.sh", "pkg_name=x")
    assert "pkg_version is empty" in _refused(tmp_path)


def test_load_package_hook_without_execute_permission_says_chmod(package: Path) -> None:
    """The remedy is in the line, ready to be pasted."""
    (package / "hooks" / "run").chmod(0o644)
    path = package / "hooks" / "run"
    assert _refused(package) == f"hooks/run has no execute permission; run: chmod +x {path}"


def test_load_package_misspelt_hook_names_the_near_one(package: Path) -> None:
    """A hook that would never run is an error, not a file to ignore."""
    _write(package / "hooks" / "health_check", RUN, 0o755)
    assert "no hook is called 'health_check'; did you mean 'health-check'?" in _refused(package)


def test_load_package_hook_in_two_languages_is_refused(package: Path) -> None:
    """``run`` and ``run.j2`` would render to one file."""
    _write(package / "hooks" / "run.j2", RUN, 0o755)
    assert "hook 'run' is also in run; keep one" in _refused(package)


def test_load_package_ignores_hidden_files_and_backups_in_hooks(package: Path) -> None:
    """An editor's leavings are no hooks; in ``config/`` a dot file is a template like any other."""
    _write(package / "hooks" / ".run.swp", b"\xff")
    _write(package / "hooks" / "run~", "old")
    _write(package / "config" / ".pgpass", "x")
    loaded = load_package(package)
    assert len(loaded.hooks) == 1
    assert "config/.pgpass" in [t.name for t in loaded.templates]


@pytest.mark.parametrize("name", ["plan.toml", "default.toml", "config/x", "hooks/init"])
def test_load_package_link_out_of_the_package_is_refused(package: Path, name: str) -> None:
    """No file of the host becomes part of a package through a link."""
    secret = _write(package.parent / "secret", '[package]\nname="a"\n', 0o755)
    link = package / name
    link.unlink(missing_ok=True)
    link.symlink_to(secret)
    assert "leads out of the package, to" in _refused(package)


def test_load_package_link_inside_the_package_is_followed(package: Path) -> None:
    """A link from one file to another of the same package is fine, also relative."""
    (package / "config" / "again.conf").symlink_to("redis.conf")
    assert "config/again.conf" in [t.name for t in load_package(package).templates]


def test_load_package_linked_directory_is_refused(package: Path) -> None:
    """Links to directories could form loops; outside links lead out."""
    (package / "config" / "loop").symlink_to(".")
    assert "links to directories are not followed" in _refused(package)
    (package / "config" / "loop").unlink()
    hooks = package / "hooks"
    hooks.rename(package.parent / "hooks")
    hooks.symlink_to("../hooks")
    assert "leads out of the package" in _refused(package)


def test_load_package_dangling_and_circular_links_are_refused(package: Path) -> None:
    """A link that leads nowhere is named."""
    (package / "config" / "x").symlink_to("nowhere")
    assert "config/x: no such file or directory" in _refused(package)
    (package / "config" / "x").unlink()
    (package / "config" / "x").symlink_to("x")
    assert "config/x" in _refused(package)


def test_load_package_linked_directory_as_argument_is_accepted(package: Path) -> None:
    """The package itself may be reached through a link (``current -> 7.2``)."""
    (package.parent / "current").symlink_to(package)
    assert load_package(package.parent / "current").plan.package.name == "redis"


def test_load_package_fifo_is_refused_without_waiting(package: Path) -> None:
    """Opening a FIFO would block for ever."""
    os.mkfifo(package / "config" / "pipe")
    assert "config/pipe is not a regular file" in _refused(package)
    (package / "config" / "pipe").unlink()
    (package / "plan.toml").unlink()
    (package / "plan.toml").mkdir()
    assert "plan.toml is a directory, not a file" in _refused(package)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("plan.toml", 64 * 1024),
        ("default.toml", DEFAULT_BYTES_MAX),
        ("config/redis.conf", TEMPLATE_BYTES_MAX),
        ("hooks/run", TEMPLATE_BYTES_MAX),
    ],
)
def test_load_package_file_over_its_bound_says_size_and_limit(
    package: Path, name: str, limit: int
) -> None:
    """Each file has a bound; one byte more is refused."""
    path = package / name
    mode = path.stat().st_mode & 0o777
    text = path.read_bytes() + b"#"
    _write(path, text + b"#" * (limit - len(text)), mode)
    assert load_package(package).plan.ident == "acme/redis/7"
    _write(path, path.read_bytes() + b"#", mode)
    assert f"{name} is {limit + 1} bytes, limit is {limit}; make it smaller" in _refused(package)


def test_load_package_too_many_files_is_refused(package: Path) -> None:
    """The bound counts templates, hooks and directories together."""
    for i in range(TEMPLATES_MAX - 4):
        _write(package / "config" / f"f{i}", "")
    assert len(load_package(package).templates) == TEMPLATES_MAX - 2
    _write(package / "config" / "one-more", "")
    assert "more than 256 files in config/ and hooks/" in _refused(package)


def test_load_package_too_deep_directories_are_refused(package: Path) -> None:
    """Nested directories have a bound."""
    _write(package.joinpath("config", *"d" * DIRECTORY_DEPTH_MAX, "f"), "")
    load_package(package)
    _write(package.joinpath("config", *"d" * (DIRECTORY_DEPTH_MAX + 1), "f"), "")
    assert "directories nest deeper than 8; flatten them" in _refused(package)


@pytest.mark.parametrize("name", ["plan.toml", "default.toml", "config/redis.conf", "hooks/run"])
def test_load_package_not_utf8_names_file_line_and_column(package: Path, name: str) -> None:
    """Text is UTF-8; the first bad byte is named."""
    path = package / name
    _write(path, b"# \xc3\xa4\n# \xff\n", 0o755)
    assert f"{name}:2:3: byte 0xff is not UTF-8; save the file as UTF-8" in _refused(package)


def test_load_package_file_name_not_utf8_is_refused(package: Path) -> None:
    """A file whose name can't be printed can't be named in an error later."""
    (package / "config" / os.fsdecode(b"a\xff")).write_text("")
    assert "the file's name is not UTF-8; rename it" in _refused(package)


def test_load_package_file_name_with_line_feed_is_refused(package: Path) -> None:
    """Names go into lists of one name per line."""
    (package / "config" / "a\nb").write_text("")
    assert "has a control character; rename it" in _refused(package)


def test_load_package_default_syntax_error_has_line_and_column(package: Path) -> None:
    """The file is named as the operator gave it."""
    _write(package / "default.toml", "a = 1\nb = [1,\n")
    assert _refused(package).startswith(f"{package}/default.toml:")


@pytest.mark.parametrize(
    ("closed", "named"),
    [("config/redis.conf", "config/redis.conf"), ("config", "config"), ("", "plan.toml")],
)
def test_load_package_unreadable_place_says_permission(
    package: Path, closed: str, named: str
) -> None:
    """The operating system's reason is kept; a closed directory does not pass for an empty one."""
    (package / closed).chmod(0)
    root = os.geteuid() == 0
    if root:  # root may read everything: be somebody else for the moment
        for parent in package.parents[:3]:
            parent.chmod(0o755)
        os.seteuid(65534)
    try:
        assert f"{package / named}: permission denied" in _refused(package)
    finally:
        if root:
            os.seteuid(0)
        (package / closed).chmod(0o755)


def test_package_for_command_has_plan_and_nothing_else() -> None:
    """A wrapped program has no files."""
    package = package_for_command("legacy", "sleep 9")
    assert package.plan.ident == "-"
    assert (package.templates, package.hooks, package.directory) == ((), (), None)


def test_hook_names_have_no_dot() -> None:
    """A dot in a hook's file name begins the suffix of its template language."""
    assert not [name for name in HOOK_NAMES if "." in name]
