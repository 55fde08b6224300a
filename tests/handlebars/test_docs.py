"""The examples of ``docs/templates.md`` do what it says."""

import json
import re
from pathlib import Path

from sup.handlebars import compile_template

TEXT = (Path(__file__).parents[2] / "docs" / "templates.md").read_text()


def test_documented_examples_render_as_written() -> None:
    """Each example line, rendered strictly, gives the ``=>`` lines after it."""
    match = re.search(r"```json context\n(.*?)```", TEXT, re.DOTALL)
    assert match is not None
    context = json.loads(match.group(1))
    count = 0
    for body in re.findall(r"```hbs\n(.*?)```", TEXT, re.DOTALL):
        for template, wanted in re.findall(r"^(?!=>)(.*)\n((?:=> .*\n)+)", body, re.MULTILINE):
            lines = [line.removeprefix("=> ") for line in wanted.splitlines()]
            made = compile_template(template, "docs/templates.md", strict=True)
            assert made.render(context).text == "\n".join(lines), template
            count += 1
    assert count == 16
