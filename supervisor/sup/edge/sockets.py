"""The two sockets of a ring member: UDP for datagrams and TCP for exchanges, on one port number.

``[::]`` is dual-stack (``IPV6_V6ONLY`` off), a specific IPv6 address is not; it is set
explicitly, because the default is a system setting. UDP has no SO_REUSEADDR or SO_REUSEPORT: a
second supervisor on a port must fail, not take half of the packets.
"""

import contextlib
import errno
import socket
from typing import Final

from sup.edge.addresses import HostPort
from sup.errors import ConflictError, ExitCode, OperatorError

RECEIVE_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""The default holds 92 to 256 packets; a stall of 2 s or a flood brings thousands."""
SEND_BUFFER_BYTES: Final = 1024 * 1024
PORT_ATTEMPTS_MAX: Final = 64
"""With port 0: how often TCP may find the number that UDP got taken."""
_SO_RCVBUFFORCE: Final = 33


def bind_pair(listen: HostPort) -> tuple[socket.socket, socket.socket]:
    """Bound, non-blocking (UDP, TCP) sockets on the same address and port; port 0 picks a free one.

    Raises:
        ConflictError: the port is in use (exit 4).
        OperatorError: the address is not one of this host's, or the port needs privileges.
    """
    for _ in range(PORT_ATTEMPTS_MAX):
        try:
            datagrams = _bind(listen, socket.SOCK_DGRAM)
        except OSError as error:
            raise _explain(listen, "udp", error) from error
        chosen = HostPort(listen.host, datagrams.getsockname()[1])
        try:
            return datagrams, _bind(chosen, socket.SOCK_STREAM)
        except OSError as error:
            datagrams.close()
            if listen.port == 0 and error.errno == errno.EADDRINUSE:
                continue
            raise _explain(listen, "tcp", error) from error
    raise ConflictError(f"no port is free for both udp and tcp on {listen.host}")


def _bind(address: HostPort, kind: int) -> socket.socket:
    ip = address.ip
    family = socket.AF_INET6 if ip is not None and ip.version == 6 else socket.AF_INET
    bound = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            only = not (ip is not None and ip.is_unspecified)
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            _widen(bound)
        bound.setblocking(False)
        bound.bind((address.host, address.port))
    except BaseException:
        bound.close()
        raise
    return bound


def _widen(bound: socket.socket) -> None:
    """Ask for large buffers; root gets them past the system's limit, others up to it."""
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    if bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < RECEIVE_BUFFER_BYTES:
        with contextlib.suppress(OSError):
            bound.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)


def _explain(listen: HostPort, protocol: str, error: OSError) -> OperatorError:
    if error.errno == errno.EADDRINUSE:
        return ConflictError(
            f"port {listen.port}/{protocol} on {listen.host} is in use; stop what holds it or give"
            " another --listen-gossip"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return OperatorError(
            f"no permission to listen on {listen} ({protocol}); use a port above 1023",
            ExitCode.FAILED,
        )
    return OperatorError(f"can't listen on {listen} ({protocol}): {error.strerror}")
