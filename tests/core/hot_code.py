"""What C code Cython makes of a module, function by function: for the tests of the hot paths."""

from __future__ import annotations

import re
from pathlib import Path

from Cython.Compiler.Main import CompilationOptions, compile_single

ROOT = Path(__file__).resolve().parents[2]
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "auto_pickle": False,
}
"""Those of ``setup.py``, without pickling, which nobody asks for on a hot path."""

_API = re.compile(r"\b(_?Py[A-Z]\w*|__Pyx_(?!RefNanny|X?(?:INC|DEC|GOT|GIVE)REF|X?CLEAR)\w+)\s*\(")
"""A call of Python's API or of Cython's helpers for it; counting references is neither."""

_FUNCTION = re.compile(
    r"^static [^\n;]*?\b__pyx_f_(\w+)\([^\n;]*\) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL
)


def api_calls(root: str, module: str, directory: Path) -> dict[str, list[str]]:
    """Every C function of a module below a source root, and the calls of Python's API in it.

    Names are ``Class.function`` or ``function``.
    """
    made = directory / f"{module}.c"
    compile_single(
        str(ROOT / root / f"{module.replace('.', '/')}.pyx"),
        CompilationOptions(
            output_file=str(made),
            include_path=[str(ROOT / "core"), str(ROOT / "supervisor")],
            compiler_directives=DIRECTIVES,
        ),
        module,
    )
    return {
        _readable(name, module): _API.findall(body)
        for name, body in _FUNCTION.findall(made.read_text())
    }


def _readable(name: str, module: str) -> str:
    """``8sup_core_4node_4Node_receive`` is ``Node.receive`` in its own module.

    Functions that another module's ``.pxd`` inlines keep that module's name in front.
    """
    parts = []
    while match := re.match(r"(\d+)", name):
        end = match.end() + int(match[1])
        parts.append(name[match.end() : end])
        name = name[end + 1 :]
    return ".".join([*parts, name]).removeprefix(f"{module}.")
