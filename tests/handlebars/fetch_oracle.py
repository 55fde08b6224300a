"""Fetch handlebars.js, the second oracle of the differential tests, into ``build/oracles``.

It is not part of the repository and no test fetches it: run this by hand (it needs npm), or name
a copy with ``SUP_HANDLEBARS_JS``. Without it the tests that need it are skipped and say so.
"""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

VERSION = "4.7.10"
TARGET = Path(__file__).resolve().parents[2] / "build" / "oracles" / f"handlebars-{VERSION}.min.js"


def main() -> int:
    """Fetch the pinned version unless it is there; 0 when it is there afterwards."""
    if TARGET.exists():
        return 0
    npm = shutil.which("npm")
    if npm is None:
        sys.stderr.write("npm is not installed; the handlebars.js oracle stays away\n")
        return 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [npm, "pack", "--silent", f"handlebars@{VERSION}"],
        cwd=TARGET.parent,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=120,
    )
    archive = TARGET.parent / f"handlebars-{VERSION}.tgz"
    with tarfile.open(archive) as package:
        member = package.extractfile("package/dist/handlebars.min.js")
        assert member is not None
        TARGET.write_bytes(member.read())
    archive.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
