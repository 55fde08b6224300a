"""Shared by the end-to-end tests."""

import socket

import pytest


@pytest.fixture
def ports():
    """Four numbers that were free on 127.0.0.1 for TCP and UDP a moment ago, all different."""
    sockets = []
    found: list[int] = []
    try:
        while len(found) < 4:
            tcp = socket.socket()
            sockets.append(tcp)
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            udp = socket.socket(type=socket.SOCK_DGRAM)
            sockets.append(udp)
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    finally:
        for sock in sockets:
            sock.close()
    return found
