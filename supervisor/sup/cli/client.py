"""The client of the command line: HTTP over the control socket or TCP, with the standard library
alone.

It turns every failure into an ``OperatorError``: the supervisor's own words when it answered, and
what to do when it did not. aiohttp would cost half a second at each start.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from sup.errors import ExitCode, OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPConnection

READ_SECONDS = 10.0
"""For a question. The supervisor answers from memory; the first answer waits for its HTTP code to
load.
"""

CHANGE_SECONDS = 330.0
"""For a change. A little more than the gateway itself allows one."""

ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""Largest answer that is read: a census of tens of thousands of members."""


LINE_BYTES_MAX = 8 * 1024 * 1024
"""A line of a stream; one of a log is at most 1 MiB, and longer as JSON."""


class Client:
    """One supervisor. ``target`` is the path of a control socket or an ``http://`` address."""

    def __init__(self, target: Path | str) -> None:
        self._target = target
        if isinstance(target, str):
            self._host, self._port = _parse_address(target)

    def get(self, path: str) -> dict[str, Any]:
        """Ask. Raises ``OperatorError`` with the exit code that fits."""
        return self.request("GET", path)

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Change something; ``body`` is sent as JSON."""
        data = None if body is None else json.dumps(body).encode()
        return self.request("POST", path, data, timeout_s=CHANGE_SECONDS)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        query: dict[str, str] | None = None,
        timeout_s: float = READ_SECONDS,
    ) -> dict[str, Any]:
        """One exchange. ``path`` is quoted already (see ``segment``).

        Raises:
            OperatorError: unreachable (exit 3), timed out (exit 5), or what the supervisor refused.
        """
        from http.client import HTTPException

        target = path + ("?" + urlencode(query) if query else "")
        connection = self._connection(timeout_s)
        try:
            connection.request(method, target, body=body)
            response = connection.getresponse()
            kind = response.headers.get_content_type()
            data = response.read(ANSWER_BYTES_MAX)
        except TimeoutError:
            raise OperatorError(
                f"no answer from {self._target} in {timeout_s:.0f} s", ExitCode.TIMED_OUT
            ) from None
        except OSError as error:
            raise self._unreachable(error) from None
        except HTTPException as error:
            raise OperatorError(
                f"{self._target} does not speak HTTP: {error!r}", ExitCode.UNREACHABLE
            ) from None
        finally:
            connection.close()
        try:
            answer = json.loads(data)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not kind.endswith("json"):
            raise OperatorError(f"{self._target} is not a supervisor", ExitCode.UNREACHABLE)
        if kind == "application/problem+json":
            raise _refused(answer)
        return answer

    def stream(self, path: str, query: dict[str, str], *, endless: bool) -> Iterator[bytes]:
        """The lines of a stream, each with its newline, as they come.

        ``endless`` waits for the next line without a bound; a host that died is noticed by TCP.

        Raises:
            OperatorError: as ``request``; also when the supervisor ended in the middle.
        """
        from http.client import HTTPException

        connection = self._connection(READ_SECONDS)
        try:
            connection.request("GET", path + ("?" + urlencode(query) if query else ""))
            sock = (
                connection.sock
            )  # http.client lets go of it when the answer closes the connection
            response = connection.getresponse()
            if response.headers.get_content_type() == "application/problem+json":
                raise _refused(json.loads(response.read(ANSWER_BYTES_MAX)))
            if response.status != 200:
                raise OperatorError(f"{self._target} is not a supervisor", ExitCode.UNREACHABLE)
            if endless and sock is not None:
                sock.settimeout(None)
                _keep_alive(sock)
            while line := response.readline(LINE_BYTES_MAX):
                yield line
        except TimeoutError:
            raise OperatorError(
                f"no answer from {self._target} in {READ_SECONDS:.0f} s", ExitCode.TIMED_OUT
            ) from None
        except OSError as error:
            raise self._unreachable(error) from None
        except (HTTPException, ValueError) as error:
            raise OperatorError(
                f"{self._target} ended in the middle of its answer: {error!r}",
                ExitCode.UNREACHABLE,
            ) from None
        finally:
            connection.close()

    def _connection(self, timeout_s: float) -> HTTPConnection:
        from http.client import HTTPConnection

        if isinstance(self._target, str):
            return HTTPConnection(self._host, self._port, timeout=timeout_s)

        import socket

        path = str(self._target)

        class UnixConnection(HTTPConnection):
            def connect(self) -> None:
                self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self.sock.settimeout(timeout_s)
                self.sock.connect(path)

        return UnixConnection("localhost", timeout=timeout_s)

    def _unreachable(self, error: OSError) -> OperatorError:
        if isinstance(error, PermissionError):
            text = f"permission denied on {self._target}; run this as the supervisor's user"
        elif isinstance(self._target, str):
            text = (
                f"no supervisor answers at {self._target} ({error.strerror or error});"
                " start one with 'sup run', or name another with --address URL"
            )
        else:
            text = (
                f"no supervisor runs on {self._target.parent};"
                " start one with 'sup run', or name another with --state-dir DIR or --address URL"
            )
        return OperatorError(text, ExitCode.UNREACHABLE)


def _keep_alive(sock: Any) -> None:
    """Let the kernel find out within two minutes that the other host is gone."""
    import socket

    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Refused(OperatorError):
    """The supervisor's answer was a problem document; ``problem`` is all of it."""

    def __init__(self, message: str, exit_code: ExitCode, problem: dict[str, Any]) -> None:
        super().__init__(message, exit_code)
        self.problem = problem


def segment(text: str) -> str:
    """One path segment, quoted. A dot alone would be taken for a path and is refused later.

    Raises:
        OperatorError: it is empty, which would make another path of it.
    """
    if not text:
        raise OperatorError("an empty name is given where a group, service or member belongs")
    return quote(text, safe="")


def _refused(problem: dict[str, Any]) -> Refused:
    message = str(problem.get("detail") or problem.get("title") or "refused")
    try:
        code = ExitCode(problem.get("exit_code", ExitCode.FAILED))
    except ValueError:
        code = ExitCode.FAILED
    return Refused(message, code, problem)


def _parse_address(address: str) -> tuple[str, int]:
    from urllib.parse import urlsplit

    text = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme != "http" or parts.path not in ("", "/") or parts.query:
        raise OperatorError(f"address {address!r} is not of the form http://HOST:PORT")
    return host, port if port is not None else 9631
