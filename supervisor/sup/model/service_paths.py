"""Where one service keeps its files on this host (pure: names, no disk access).

``svc/NAME`` in the supervisor's state directory, laid out as Habitat's ``/hab/svc/NAME``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REPORT_SOCKET = "report.sock"
"""In the state directory: where services report how they do."""


@dataclass(frozen=True, slots=True)
class ServicePaths:
    """The directory of one service and everything in it."""

    root: Path

    @classmethod
    def of(cls, state_dir: Path, name: str) -> ServicePaths:
        """The paths of service ``name`` (a checked name) below ``state_dir``."""
        return cls(state_dir / "svc" / name)

    @property
    def config(self) -> Path:
        return self.root / "config"

    @property
    def config_install(self) -> Path:
        return self.root / "config_install"

    @property
    def hooks(self) -> Path:
        return self.root / "hooks"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def files(self) -> Path:
        return self.root / "files"

    @property
    def var(self) -> Path:
        return self.root / "var"

    @property
    def static(self) -> Path:
        return self.root / "static"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def user_toml(self) -> Path:
        return self.root / "user.toml"

    @property
    def process_json(self) -> Path:
        return self.root / "process.json"

    @property
    def pid_file(self) -> Path:
        return self.root / "PID"

    @property
    def tally(self) -> Path:
        """The last deaths, and what the service was left at."""
        return self.root / "tally"

    @property
    def rendered(self) -> Path:
        """List of the files that the last render left, so that stale ones can be removed."""
        return self.root / "rendered"

    def hook(self, name: str) -> Path:
        """The rendered hook ``name``."""
        return self.hooks / name
