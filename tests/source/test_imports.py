"""Every module can be imported first, in a process that has imported nothing of ours."""

from __future__ import annotations

import subprocess
import sys

from tests.source.house import modules

# One parent forks a child per module: what others made is imported once, ours anew in each child.
PROGRAM = """
import importlib, os, sys, traceback
import aiohttp.web, click, cryptography, msgpack, msgspec, pluggy, rich.live, tomli, tomli_w, uvloop
failed = False
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            importlib.import_module(name)
        except BaseException:
            print(f"import {name} first:", traceback.format_exc(), sep="\\n", flush=True)
            os._exit(1)
        os._exit(0)
    failed |= os.waitpid(child, 0)[1] != 0
sys.exit(failed)
"""


def test_every_module_imports_alone() -> None:
    """No module needs another to be imported before it."""
    names = [
        name
        for name, module in modules().items()
        if name != "sup.__main__" and any(file.suffix in (".py", ".pyx") for file in module.files)
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
