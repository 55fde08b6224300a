"""The launcher as a program: ``python -I -S …/launcher/__main__.py --state-dir DIR -- COMMAND…``.

``COMMAND`` starts a supervisor. ``--check`` only loads the code, for an upgrade to try it first;
``--resume FD`` goes on with the state that the code before left in a memfd.
"""

import os
import sys

# Isolated (-I -S): nothing but the standard library and this tree is on the path.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from sup.launcher.loop import Launcher, Options, launcher_command


def main(arguments: list[str]) -> int:
    """Run until it ends; returns the exit code."""
    options = Options()
    options.command = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            options.command = rest
            break
        if word == "--check":
            return 0
        if word == "--state-dir" and rest:
            options.state_dir = rest.pop(0)
        elif word == "--log-format" and rest:
            options.log_format = rest.pop(0)
        elif word == "--resume" and rest:
            options.resume_fd = int(rest.pop(0))
        else:
            print(f"error: launcher: unknown option {word}", file=sys.stderr)  # noqa: T201
            return 2
    if not options.command or not options.state_dir:
        print("error: launcher: needs --state-dir DIR -- COMMAND", file=sys.stderr)  # noqa: T201
        return 2
    options.own = launcher_command(os.path.abspath(__file__), sys.executable)
    return Launcher(options, dict(os.environ)).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
