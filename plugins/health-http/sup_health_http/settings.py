"""The settings of a check of kind ``http``, checked: every mistake is one line that names it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sup_health_http.pattern import Pattern

TEXT_CHARS_MAX = 1024
HEADERS_MAX = 32
METHODS = ("GET", "HEAD", "OPTIONS", "POST")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x20-\x7e\t]*")
_TARGET = re.compile(r"/[\x21-\x7e]*")
KNOWN = frozenset(
    {
        *("url", "scheme", "host", "port", "path", "method", "headers", "status"),
        *("body_contains", "body_matches", "connect_timeout"),
        *("tls_verify", "tls_ca", "tls_server_name", "tls_certificate", "tls_key"),
    }
)


@dataclass(frozen=True, slots=True)
class Tls:
    """How a server is trusted; equal ones share a context."""

    verify: bool = True
    ca: str = ""
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """One request and what its answer must be. ``status`` None: Consul's rule."""

    host: str
    port: int
    target: str
    host_header: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    status: frozenset[int] | None = None
    contains: bytes = b""
    matches: Pattern | None = None
    connect_timeout_s: float = 5.0
    tls: Tls | None = None
    server_name: str = ""

    @property
    def wants_body(self) -> bool:
        return bool(self.contains) or self.matches is not None

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Settings:
        """Check the table of the plan.

        Raises:
            ValueError: one line: the key, its value and what it should be.
        """
        if unknown := sorted(set(settings) - KNOWN):
            raise ValueError(f"unknown key {unknown[0]!r:.60}; known: {', '.join(sorted(KNOWN))}")
        scheme, host, port, target = _place(settings)
        contains = _text(settings, "body_contains")
        pattern = _text(settings, "body_matches")
        default = {"http": 80, "https": 443}[scheme]
        bracketed = f"[{host}]" if ":" in host else host
        method = _text(settings, "method") or "GET"
        if method not in METHODS:
            raise ValueError(f"method is {method!r:.60}; it is one of {', '.join(METHODS)}")
        if method == "HEAD" and (contains or pattern):
            raise ValueError("method is HEAD, whose answer has no body to look into; use GET")
        return cls(
            host=host,
            port=port,
            target=target,
            host_header=bracketed if port == default else f"{bracketed}:{port}",
            method=method,
            headers=_headers(settings),
            status=_status(settings),
            contains=contains.encode(),
            matches=Pattern(pattern) if pattern else None,
            connect_timeout_s=_seconds(settings),
            tls=_tls(settings, scheme),
            server_name=_text(settings, "tls_server_name") or host,
        )


def _place(settings: Mapping[str, Any]) -> tuple[str, str, int, str]:
    url = _text(settings, "url")
    if not url:
        scheme = _text(settings, "scheme") or "http"
        host = _text(settings, "host") or "127.0.0.1"
        port: Any = settings.get("port")
        target = _text(settings, "path") or "/"
        if port is None:
            raise ValueError("there is neither url nor port; set one of them")
    else:
        if also := sorted({"scheme", "host", "port", "path"} & set(settings)):
            raise ValueError(f"there are url and {also[0]}; url says it all")
        try:
            parts = urlsplit(url)
            scheme, host = parts.scheme, parts.hostname or ""
            port = parts.port
        except ValueError as error:
            raise ValueError(f"url is {url!r:.200}: {error}") from None
        if parts.username is not None:
            raise ValueError("url has a user name; use headers with Authorization")
        port = {"https": 443}.get(scheme, 80) if port is None else port
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if scheme not in ("http", "https") or not host:
        raise ValueError(
            f"{'url' if url else 'scheme'} is {url or scheme!r:.200};"
            " it begins with http:// or https:// and a host"
        )
    if isinstance(port, str) and port.isascii() and port.isdigit():
        port = int(port)
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise ValueError(f"port is {port!r:.60}; it must be a number from 1 to 65535")
    if not _VALUE.fullmatch(host) or " " in host:
        raise ValueError(f"host is {host!r:.60}; it must be a name or an address")
    if not _TARGET.fullmatch(target):
        raise ValueError(f"path is {target!r:.60}; it begins with / and has no space")
    return scheme, host, port, target


def _text(settings: Mapping[str, Any], key: str) -> str:
    value = settings.get(key, "")
    if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX:
        raise ValueError(f"{key} must be a text of at most {TEXT_CHARS_MAX} characters")
    return value


def _headers(settings: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    headers = settings.get("headers", {})
    if not isinstance(headers, Mapping) or len(headers) > HEADERS_MAX:
        raise ValueError(f"headers must be a table of at most {HEADERS_MAX} texts")
    for name, value in headers.items():
        if not isinstance(value, str) or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"headers.{name!s:.60} is not a header and its text")
        if name.lower() in ("content-length", "transfer-encoding", "connection"):
            raise ValueError(f"headers.{name} belongs to the connection; remove it")
    return tuple(headers.items())


def _status(settings: Mapping[str, Any]) -> frozenset[int] | None:
    """``[200, "300-399"]`` as numbers; absent: None."""
    wanted = settings.get("status")
    if wanted is None:
        return None
    found: set[int] = set()
    for one in wanted if isinstance(wanted, list) else [wanted]:
        first, dash, last = str(one).partition("-")
        numbers = [first, last] if dash else [first, first]
        if not all(len(n) == 3 and n.isascii() and n.isdigit() for n in numbers):
            raise ValueError(f'status has {one!r:.60}; write numbers, or ranges such as "200-299"')
        found.update(range(int(numbers[0]), int(numbers[1]) + 1))
    if not found or min(found) < 200 or max(found) > 599:
        raise ValueError("status must name at least one code, from 200 to 599")
    return frozenset(found)


def _seconds(settings: Mapping[str, Any]) -> float:
    value = settings.get("connect_timeout", 5.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 3600:
        raise ValueError(f"connect_timeout is {value!r:.60}; it must be seconds, up to 3600")
    return float(value)


def _tls(settings: Mapping[str, Any], scheme: str) -> Tls | None:
    given = sorted(key for key in settings if key.startswith("tls_"))
    if scheme == "http":
        if given:
            raise ValueError(f"{given[0]} is set and the scheme is http; use https")
        return None
    verify = settings.get("tls_verify", True)
    if not isinstance(verify, bool):
        raise ValueError(f"tls_verify is {verify!r:.60}; it is true or false")
    certificate, key = _text(settings, "tls_certificate"), _text(settings, "tls_key")
    if key and not certificate:
        raise ValueError("tls_key is set and tls_certificate is not; set both")
    return Tls(verify, _text(settings, "tls_ca"), certificate, key)
