"""Shared by the chaos tests: real processes on ports of their own."""

from tests.e2e.conftest import ports

__all__ = ["ports"]
