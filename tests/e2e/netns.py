"""Hosts of a test: one network namespace each, joined by a bridge in a namespace of its own.

Nothing of it touches the machine's own network. ``close`` removes all of it, also after a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess


def unavailable() -> str | None:
    """Why namespaces can't be used here, or None when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the ip command (Debian: iproute2)"
    probe = f"sup-probe-{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if done.returncode != 0:
        return f"ip netns add: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe], check=True)
    return None


class Hosts:
    """``count`` namespaces with the addresses 10.77.0.1, 10.77.0.2, … on one bridge."""

    def __init__(self, count: int) -> None:
        self.prefix = f"sup{os.getpid()}"
        self.bridge = f"{self.prefix}-br"
        self.names = [f"{self.prefix}-h{i}" for i in range(count)]
        self.addresses = [f"10.77.0.{i + 1}" for i in range(count)]

    def __enter__(self) -> Hosts:
        try:
            self._add(self.bridge)
            self._ip(self.bridge, "link", "add", "br0", "type", "bridge")
            self._ip(self.bridge, "link", "set", "br0", "up")
            for index, (name, address) in enumerate(zip(self.names, self.addresses, strict=True)):
                self._add(name)
                port = f"p{index}"
                self._ip(
                    self.bridge,
                    *("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name),
                )
                self._ip(self.bridge, "link", "set", port, "master", "br0", "up")
                self._ip(name, "addr", "add", f"{address}/24", "dev", "eth0")
                self._ip(name, "link", "set", "eth0", "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for name in [*self.names, self.bridge]:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def unplug(self, index: int) -> None:
        """Take this host off the bridge: it hears nobody and nobody hears it."""
        self._ip(self.bridge, "link", "set", f"p{index}", "nomaster")

    def plug(self, index: int) -> None:
        self._ip(self.bridge, "link", "set", f"p{index}", "master", "br0")

    def command(self, index: int, *argv: str) -> list[str]:
        """``argv`` as it is run on this host."""
        return ["ip", "netns", "exec", self.names[index], *argv]

    def _add(self, name: str) -> None:
        subprocess.run(["ip", "netns", "add", name], check=True)
        self._ip(name, "link", "set", "lo", "up")

    @staticmethod
    def _ip(namespace: str, *argv: str) -> None:
        subprocess.run(["ip", "-n", namespace, *argv], check=True)
