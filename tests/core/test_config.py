"""The configuration: ranges are checked, every field is documented."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest

import sup_core.config
from sup_core.config import PROFILES, Config


@pytest.mark.parametrize(
    ("field", "value"),
    [("gossip_fanout", 0), ("gossip_fanout", 17), ("probe_interval_us", True), ("rto_min_us", 1.5)],
)
def test_config_out_of_range_names_field_value_and_bound(field: str, value: object) -> None:
    """An operator reads what to change."""
    with pytest.raises(ValueError, match=field):
        Config(**{field: value})  # type: ignore[arg-type]


def test_config_minimum_above_its_maximum_is_refused() -> None:
    """Clamps that cross would never settle."""
    with pytest.raises(ValueError, match="rto_min_us"):
        Config(rto_min_us=2_000_000, rto_max_us=1_000_000)


def test_config_documents_every_field() -> None:
    """A string follows every field of the class."""
    tree = ast.parse(Path(sup_core.config.__file__).read_text())
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Config").body
    documented = set()
    for item, following in pairwise(body):
        if isinstance(item, ast.AnnAssign) and isinstance(following, ast.Expr):
            documented.add(item.target.id)  # type: ignore[union-attr]
    assert documented == {field.name for field in fields(Config)}


def test_waits_follow_from_the_pause_tolerance() -> None:
    """One dial: the second look and the bystanders' wait are shares of it, unless they are set."""
    config = Config(pause_tolerance_us=8_000_000)
    assert (config.second_look_us, config.bystander_wait_us) == (5_000_000, 12_000_000)
    assert Config(second_look_us=0).second_look_us == 0
    assert Config() == Config.lan()


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_profile_takes_the_tolerance_and_other_changes(profile: Callable[..., Config]) -> None:
    """A profile is a start: every field may still be given."""
    config = profile(pause_tolerance_us=1_600_000, gossip_fanout=5)
    assert (config.pause_tolerance_us, config.gossip_fanout) == (1_600_000, 5)
    assert config.second_look_us == 1_000_000
    with pytest.raises(ValueError, match="pause_tolerance_us"):
        profile(pause_tolerance_us=-1)
