"""The hub's way of a datagram, from socket to node and back, has no call of Python in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.core.hot_code import api_calls

WARM = {
    "datagram_ports": {
        "Port.next_due",  # a port that is written in Python
        "Port.timeout",
    },
    "datagrams": {
        "Hub._fire",  # an exception of a port that is written in Python is caught here
        "Hub._deadline_of",
        "Hub._finish",  # the owner's callback, when the node has events
        "Hub._report",
        "Hub._free_slot",  # once per socket, as the next two are
        "Hub._watch",
        "Hub._put",
    },
}


@pytest.mark.parametrize("module", sorted(WARM))
def test_datagram_functions_do_not_call_python(module: str, tmp_path: Path) -> None:
    """Reading, handing in, sending, timers: C only, with the exceptions that are listed."""
    calls = api_calls("supervisor", f"sup.edge.{module}", tmp_path)
    assert calls
    assert {
        name: found for name, found in calls.items() if found and name not in WARM[module]
    } == {}
