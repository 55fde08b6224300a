"""Names: what is one, what is not, and that the error says why."""

import pytest

from sup.errors import OperatorError
from sup.model.service_group import ServiceGroup, check_name, is_name, parse_service_group


def test_parse_two_names_gives_both_parts() -> None:
    """The part before the dot is the service; text and value are each other's inverse."""
    group = parse_service_group("my-app.blue_2")
    assert group == ServiceGroup("my-app", "blue_2")
    assert str(group) == "my-app.blue_2"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("redis", "has no group; write it as in 'redis.default'"),
        ("", "has no group"),
        (".default", "service name ''"),
        ("redis.", "group name ''"),
        ("a.b.c", "group name 'b.c' is not a name"),
        ("-a.b", "not beginning with '-'"),
        ("a/../b.c", "is not a name"),
        ("a\n.b", "is not a name"),
        ("a.b\n", "is not a name"),
        ("x" * 65 + ".b", "is 65 characters, limit is 64"),
    ],
)
def test_parse_bad_text_says_what_is_wrong(text: str, says: str) -> None:
    """Every refusal is one line with the value or the bound."""
    with pytest.raises(OperatorError) as caught:
        parse_service_group(text)
    assert says in caught.value.message
    assert "\n" not in caught.value.message


def test_name_of_64_characters_is_accepted() -> None:
    """The bound itself is inside."""
    assert check_name("a" * 64, "name") == "a" * 64
    assert not is_name("a" * 65)
    assert not is_name("ä")
