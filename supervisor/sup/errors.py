"""Errors that an operator caused and can mend: one line each, an exit code, never a traceback.

The line says what, the value, the bound and what to do. Programming errors are not of this family.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every ``sup`` command; documented in ``sup --help``."""

    OK = 0
    FAILED = 1
    """The command was understood and tried; it did not succeed."""
    BAD_INPUT = 2
    """Usage, TOML, a plan, a template, an unknown plugin: nothing was changed."""
    UNREACHABLE = 3
    """No supervisor answers at the address or socket."""
    CONFLICT = 4
    """Refused by the present state: a version that moved on, a lock, port or directory that is
    taken.
    """
    TIMED_OUT = 5
    """The wait ended before what it waited for."""


class OperatorError(Exception):
    """One line for the operator and the exit code that goes with it."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.BAD_INPUT) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class ConflictError(OperatorError):
    """The present state refuses the request (HTTP 409, exit 4)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.CONFLICT)


class NotFoundError(OperatorError):
    """There is no such service, group or member (HTTP 404, exit 1)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.FAILED)
