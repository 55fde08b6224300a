"""Bounds of one template, so that a package can neither stop nor fill its host.

Templates come out of packages and their values from any member of the ring, so neither is trusted
to be small. A bound that is reached is a ``TemplateError`` with the place that reached it; none is
ever hit by a plausible configuration file. Times are for CPython 3.11 on one slow core.
"""

from typing import Final

SOURCE_CHARS_MAX: Final = 1 << 20
"""Characters of template text. Larger files are data; parsing this takes ~1 s."""

NESTING_MAX: Final = 48
"""Blocks, subexpressions or literals inside each other in one file. Each costs the parser and the
renderer a few Python frames, and CPython allows 1000 in all."""

RENDER_DEPTH_MAX: Final = 100
"""Blocks and partials entered at one time: what ends a partial that includes itself."""

OUTPUT_CHARS_MAX: Final = 4 << 20
"""Characters of rendered text, and of any text that a helper makes on the way."""

STEPS_MAX: Final = 1_000_000
"""Statements and expressions evaluated in one render, about one second; 10 000 members with 50
values each are half of it. Helpers that walk a whole value are charged for its size."""

VALUE_DEPTH_MAX: Final = 64
"""Nesting of a value that is printed, compared or serialised."""
