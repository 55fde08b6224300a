"""Coverage-guided fuzzing of the compiled core: ``guided.py TARGET [libFuzzer option…]``.

Atheris instruments Python bytecode only. The compiled core is instrumented by clang (see
``instrument.py``), and its counters have to meet the libFuzzer inside atheris: that library is
loaded when the fuzzer is set up, made visible to later libraries, and only then is the core loaded.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Set up atheris, load the instrumented core, fuzz until libFuzzer's options say stop."""
    import atheris  # type: ignore[import-not-found]

    name, options = sys.argv[1], sys.argv[2:]
    found: list[Callable[[bytes], None]] = []
    # What libFuzzer starts again to merge corpora.
    program = os.environ.get("FUZZ_PROGRAM", sys.argv[0])
    atheris.Setup([program, *options], lambda data: found[0](data), internal_libfuzzer=True)
    import atheris.core_with_libfuzzer as engine  # type: ignore[import-not-found]

    ctypes.CDLL(engine.__file__, mode=os.RTLD_NOW | os.RTLD_GLOBAL | os.RTLD_NOLOAD)
    with atheris.instrument_imports(include=["sup.edge.streams"]):
        from tests.fuzz import targets

        import sup_core

    print(f"fuzz: {name} with the core of {Path(sup_core.__file__).parent}", flush=True)
    targets.watch_unraisable()
    found.append(targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
