"""Addresses as operators write them, as the core holds them and as sockets take them.

The core's form has 18 bytes: 16 of IPv6 (IPv4 as ``::ffff:a.b.c.d``) and the port, big-endian. A
scope id has no place in it, so link-local addresses with a zone are refused. Nothing here
resolves names or opens sockets, except ``primary_ip``, which asks the routing table and sends
nothing.
"""

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final

from sup.errors import OperatorError

DEFAULT_PORT: Final = 9638
ADDRESS_BYTES: Final = 18
HOST_CHARACTERS_MAX: Final = 253
_MAPPED: Final = bytes(10) + b"\xff\xff"
_HOST: Final = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?", re.ASCII)
_LABEL_CHARACTERS_MAX: Final = 63
_PROBE_TARGETS: Final = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host (name or literal, without brackets) and a port from 0 to 65535."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The literal address, None for a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


def parse_host_port(
    text: str, what: str = "address", *, port_min: int = 1, default_port: int = DEFAULT_PORT
) -> HostPort:
    """Parse ``host``, ``host:port``, ``[v6]:port`` or a bare ``v6``; the default port is 9638.

    Raises:
        OperatorError: exit 2, one line that names ``what`` and the text.
    """
    text = text.strip()
    host, port_text = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or ":" not in host:
            raise _bad(what, text, "expected [v6-address]:port")
        port_text = rest[1:]
        if rest == ":":
            raise _bad(what, text, "the port is missing")
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
        if not port_text:
            raise _bad(what, text, "the port is missing")
    port = _parse_port(port_text, what, text, port_min) if port_text else default_port
    return HostPort(_parse_host(host, what, text), port)


def pack_address(ip: str, port: int) -> bytes:
    """The core's 18 bytes of a literal address. Raises ValueError for a name or a zone."""
    parsed = ipaddress.ip_address(ip)
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id is not None:
            raise ValueError(f"{ip} needs a zone, which the ring can't carry")
        return parsed.packed + port.to_bytes(2, "big")
    return _MAPPED + parsed.packed + port.to_bytes(2, "big")


def unpack_address(address: bytes) -> tuple[str, int]:
    """Literal address (IPv4 in dotted form) and port of the core's 18 bytes."""
    if len(address) != ADDRESS_BYTES:
        raise ValueError(f"an address has {ADDRESS_BYTES} bytes, not {len(address)}")
    port = int.from_bytes(address[16:], "big")
    if address[:12] == _MAPPED:
        return str(ipaddress.IPv4Address(address[12:16])), port
    return str(ipaddress.IPv6Address(address[:16])), port


def format_address(address: bytes) -> str:
    """``ip:port`` or ``[v6]:port`` of the core's 18 bytes."""
    return str(HostPort(*unpack_address(address)))


def primary_ip(*, is_v6: bool, targets: tuple[str, ...] = ()) -> str | None:
    """Source address that the routing table picks towards ``targets`` or, failing them, anywhere.

    ``connect`` on a UDP socket sends nothing; it only looks up the route. Documentation addresses
    stand for "anywhere". ``is_v6``: the socket speaks IPv6 too. Loopback, unspecified and
    link-local answers do not count.
    """
    candidates = [(target, _family_of(target)) for target in targets]
    for target, target_family in (*candidates, *_PROBE_TARGETS):
        if target_family == socket.AF_INET6 and not is_v6:
            continue
        with socket.socket(target_family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))
                found = ipaddress.ip_address(probe.getsockname()[0].partition("%")[0])
            except OSError:
                continue
        if not (found.is_loopback or found.is_unspecified or found.is_link_local):
            return str(found)
    return None


def _family_of(ip: str) -> int:
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


def _parse_host(host: str, what: str, text: str) -> str:
    if not host:
        raise _bad(what, text, "the host is missing")
    if len(host) > HOST_CHARACTERS_MAX:
        raise _bad(what, text, f"the host has {len(host)} characters, limit {HOST_CHARACTERS_MAX}")
    if ":" in host:
        try:
            parsed = ipaddress.IPv6Address(host)
        except ValueError:
            raise _bad(what, text, "not an IPv6 address (a port needs [v6-address]:port)") from None
        if parsed.scope_id is not None:
            raise _bad(what, text, "addresses with a zone are not supported; use a routable one")
        return str(parsed.ipv4_mapped or parsed)
    labels = host.rstrip(".").split(".")
    if (
        not _HOST.fullmatch(host)
        or any(not 0 < len(label) <= _LABEL_CHARACTERS_MAX for label in labels)
        or (labels[-1].isdigit() and not _is_ipv4(host))
    ):
        raise _bad(what, text, "not a host name or an IP address")
    return host


def _is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _parse_port(text: str, what: str, whole: str, port_min: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise _bad(what, whole, f"{text!r} is not a port")
    port = int(text)
    if not port_min <= port <= 65535:
        raise _bad(what, whole, f"port {port} is not from {port_min} to 65535")
    return port


def _bad(what: str, text: str, reason: str) -> OperatorError:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return OperatorError(f"{what} {shown!r}: {reason}; write HOST, HOST:PORT or [V6]:PORT")
