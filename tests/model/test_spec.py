"""The spec file: what is written is what is read, and mistakes are one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.errors import OperatorError
from sup.model.service_group import NAME_PATTERN, ServiceGroup
from sup.model.spec import Spec, format_spec, parse_spec, spec_from

_names = st.from_regex(NAME_PATTERN)
_words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)
_programs = st.one_of(
    st.builds(lambda text: {"package_dir": f"/{text}"}, _words),
    st.builds(lambda text: {"command": f"x {text}"}, _words),
    st.builds(lambda words: {"command": ["x", *words]}, st.lists(_words, max_size=3)),
)


@st.composite
def _specs(draw: st.DrawFn) -> Spec:
    return Spec(
        name=draw(_names),
        group=draw(_names),
        topology=draw(_names),
        strategy=draw(_names),
        desired=draw(st.sampled_from(["up", "down"])),
        health_interval=draw(st.none() | st.floats(0.001, 86400)),
        binds=draw(
            st.dictionaries(_names, st.builds(lambda a, b: f"{a}.{b}", _names, _names), max_size=3)
        ),
        binding_mode=draw(st.sampled_from(["strict", "relaxed"])),
        bind_ready=draw(st.booleans()),
        **draw(_programs),
    )


@given(_specs())
def test_format_then_parse_gives_the_same_spec(spec: Spec) -> None:
    """A spec survives its file, whatever its command or path is made of."""
    assert parse_spec(format_spec(spec), "f") == spec


def test_service_group_of_spec_is_name_and_group() -> None:
    """The service's name in the ring is its name on the host."""
    assert Spec("redis", command="x").service_group == ServiceGroup("redis", "default")


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({"name": "a"}, "f: neither of package_dir and command is set; set one of them"),
        ({"name": "a", "package_dir": "/x", "command": "y"}, "f: both of package_dir and command"),
        ({"name": "a", "package_dir": ""}, "f: package_dir '' is not a path"),
        ({"command": "x"}, "f: 'name' is missing; add it"),
        ({"name": "a/b", "command": "x"}, "f: name 'a/b' is not a name"),
        ({"name": "a", "command": "x", "desired": "on"}, "f: desired: 'on' is not one of down, up"),
        ({"name": "a", "command": "x", "topolgy": "leader"}, "did you mean 'topology'?"),
        ({"name": "a", "command": "x", "health_interval": 0}, "f: health_interval: expected"),
        ({"name": "a", "command": "x", "binds": {"db": "pg"}}, "f: binds.db: service group 'pg'"),
    ],
)
def test_spec_mistake_gives_one_line(table: dict[str, object], line: str) -> None:
    """The same check serves the file and a request to the gateway."""
    with pytest.raises(OperatorError) as caught:
        spec_from(table, "f")
    assert line in caught.value.message
    assert "\n" not in caught.value.message
