"""The configuration: ranges are checked, every field is documented."""

from __future__ import annotations

import ast
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest

import sup_core.config
from sup_core.config import Config


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
