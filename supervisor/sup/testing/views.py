"""Views for tests: members and groups made from a number, and a set of groups that ask for trouble.

Everything is a function of its arguments: member 3 is the same member in every test and every run.
"""

from __future__ import annotations

import hashlib
from typing import Any

from sup.plugin_api import CensusGroup, CensusMember, Health


def make_member(number: int, **changes: Any) -> CensusMember:
    """Make member ``number`` of ``app.default``, alive and healthy, with any field changed by name.

    Ids of successive numbers are in no order, as in a real ring.
    """
    member_id = hashlib.sha256(b"member %d" % number).hexdigest()[:32]
    address = f"10.0.{number // 250}.{number % 250 + 1}"
    fields: dict[str, Any] = {
        "member_id": member_id,
        "name": f"host-{number}",
        "service": "app",
        "group": "default",
        "state": "alive",
        "health": Health.OK,
        "health_since_s": 1_700_000_000 + number,
        "output": "",
        "process": "up",
        "package": "core/app/1.0.0",
        "topology": "standalone",
        "strategy": "none",
        "exports": {"port": 8000 + number},
        "sys": {
            "ip": address,
            "hostname": f"host-{number}",
            "gossip_ip": address,
            "gossip_port": 9638,
            "http_gateway_ip": "127.0.0.1",
            "http_gateway_port": 9631,
            "member_id": member_id,
            "version": "0.1.0",
        },
        "config_version": "",
        "maintenance": "",
        "restart": "",
    }
    if unknown := changes.keys() - fields.keys():
        raise TypeError(f"a member has no {', '.join(sorted(unknown))}")
    if "health" not in changes and changes.get("state", "alive") != "alive":
        fields["health"] = Health.UNKNOWN  # as in the census: nobody knows more of it
    return CensusMember(**(fields | changes))


def make_group(*members: CensusMember, service: str = "app", group: str = "default") -> CensusGroup:
    """Make a group of these members, sorted by member id as a census has them."""
    return CensusGroup(service, group, tuple(sorted(members, key=lambda m: m.member_id)))


def sample_groups() -> tuple[tuple[str, CensusGroup, str], ...]:
    """Groups that a policy must survive: (what it shows, the group, the id of "me")."""
    one, two, three = make_member(1), make_member(2), make_member(3)
    me = one.member_id
    return (
        ("nobody is known yet", make_group(), me),
        ("alone", make_group(one), me),
        ("three healthy members", make_group(one, two, three), me),
        ("me is not among the members", make_group(two, three), me),
        ("another is suspect", make_group(one, make_member(2, state="suspect"), three), me),
        ("another is dead", make_group(one, make_member(2, state="dead"), three), me),
        ("another has left", make_group(one, make_member(2, state="left"), three), me),
        ("another is critical", make_group(one, make_member(2, health=Health.CRITICAL)), me),
        ("me is critical", make_group(make_member(1, health=Health.CRITICAL), two), me),
        ("me is starting", make_group(make_member(1, process="starting"), two), me),
        (
            "all are down",
            make_group(*(make_member(n, process="down", health=Health.UNKNOWN) for n in (1, 2))),
            me,
        ),
        (
            "two releases and two configurations",
            make_group(one, make_member(2, package="core/app/2.0.0", config_version="7-abc")),
            me,
        ),
        (
            "words of a later version",
            make_group(one, make_member(2, state="quarantined", process="hibernating", sys={})),
            me,
        ),
        ("a hundred members", make_group(*(make_member(n) for n in range(1, 101))), me),
    )
