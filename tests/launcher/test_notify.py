"""The socket that services speak sd_notify(3) to."""

import os
import socket
from contextlib import closing
from pathlib import Path

from sup.launcher.notify import open_notify, receive


def test_receive_descriptors_are_closed_and_the_words_heard(tmp_path: Path) -> None:
    """A barrier ends at once (its sender waits for the close); no descriptor of it stays open."""
    path = str(tmp_path / "notify")
    server = open_notify(path, os.geteuid(), os.getegid())
    held = len(os.listdir("/proc/self/fd"))
    with closing(server), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.connect(path)
        for count in (1, 4, 50):
            reads, writes = os.pipe()
            socket.send_fds(client, [b"BARRIER=1"], [writes] * count)
            os.close(writes)
            assert receive(server, os.geteuid()) == b"BARRIER=1"
            os.set_blocking(reads, False)
            assert os.read(reads, 1) == b""  # the last writing end is closed
            os.close(reads)
        assert receive(server, os.geteuid()) is None
    assert len(os.listdir("/proc/self/fd")) == held - 1
