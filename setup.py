"""Build the compiled modules: every ``.pyx`` below the two source roots is an extension.

All other metadata lives in ``pyproject.toml``. ``SUP_CYTHON_ANNOTATE=1`` also writes Cython's
annotated HTML beside the generated C in ``build/cython``. ``SUP_COMPILE=0`` leaves the extensions
out: ``make`` installs that way and compiles in place itself, because an editable installation
compiles everything in a temporary directory and forgets it.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOTS = ("core", "supervisor")
JOBS = min(4, os.cpu_count() or 1)
# Debug information would make the wheel several times larger; symbols for profilers stay.
COMPILE_ARGUMENTS = [
    "-O2",
    "-g0",
    "-fvisibility=hidden",
    "-Wno-unused-function",
    "-Wno-sign-compare",
]
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": True,
}


def extensions() -> list[Extension]:
    """One extension per ``.pyx``; the dotted name equals the path below its root."""
    found: list[Extension] = []
    if os.environ.get("SUP_COMPILE") == "0":
        return found
    for root in ROOTS:
        for source in sorted(Path(root).rglob("*.pyx")):
            name = ".".join(source.relative_to(root).with_suffix("").parts)
            found.append(
                Extension(
                    name,
                    [str(source)],
                    extra_compile_args=COMPILE_ARGUMENTS,
                )
            )
    return found


setup(
    ext_modules=cythonize(
        extensions(),
        compiler_directives=DIRECTIVES,
        build_dir="build/cython",
        include_path=list(ROOTS),
        annotate=os.environ.get("SUP_CYTHON_ANNOTATE") == "1",
        nthreads=JOBS,
    ),
    options={"build_ext": {"parallel": JOBS}},
)
