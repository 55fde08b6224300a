"""Files that say what shall run: what can't be read is shown, and stops nothing."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, cast

import pytest

from sup.model.spec import Spec
from sup.services import Loaded, Services


@pytest.fixture
def services(tmp_path: Path) -> Services:
    """The services of a state directory, without a ring."""
    nothing = cast(Any, None)
    return Services(tmp_path, nothing, nothing, "me", dict, lambda: None, random.Random(1))


async def test_scan_specs_unreadable_keeps_what_is_loaded(
    services: Services, tmp_path: Path
) -> None:
    """A disk that does not answer is no wish to unload, and no end of the supervisor."""
    (tmp_path / "specs").write_text("not a directory")
    loaded = Loaded(Spec(name="web", command=["true"]))
    services.loaded["web"] = loaded
    assert services._read_specs() == {"web": loaded.spec}
    assert services.warnings == ["specs: not a directory"]
    (tmp_path / "specs").unlink()
    assert services._read_specs() == {}
    assert services.warnings == []


async def test_scan_user_toml_out_of_reach_is_a_warning(services: Services, tmp_path: Path) -> None:
    """The layer before it stays."""
    (tmp_path / "svc").write_text("not a directory")
    loaded = Loaded(Spec(name="web", command=["true"]), user={"a": 1})
    assert not services._read_user_toml("web", loaded)
    assert loaded.user == {"a": 1}
    assert services.warnings == ["svc/web/user.toml: not a directory"]
