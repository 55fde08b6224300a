"""The spec of a loaded service: what the operator wants on this host (pure).

One TOML file per service in the supervisor's state directory. Editing the file and running the
command line are the same thing: a reconciler compares specs with reality. A spec names either a
package directory or a bare command.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import tomli_w
from msgspec import Meta

from sup.errors import OperatorError
from sup.model.config_layers import parse_toml
from sup.model.convert import convert_table
from sup.model.plan import ENTRIES_MAX, check_after, check_command
from sup.model.process_plan import Condition
from sup.model.service_group import ServiceGroup, check_name, parse_service_group

SPEC_BYTES_MAX = 64 * 1024
"""A spec holds a command of at most 256 arguments and 64 binds."""


FIRST_LINE = b"# A spec of sup. Edit it as you like; the last line says that it is whole.\n"
LAST_LINE = b"# end\n"
"""A file that begins with the first and lacks the last was cut off by a crash: TOML alone would
take what is left for a whole spec."""


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Desired state of one service. ``binds`` maps a bind of the plan to a ``service.group``.

    ``health_interval`` (seconds) overrides the plan's interval. ``binding_mode`` strict holds the
    start until every bind that is given has a member to use; ``bind_ready`` counts only members
    whose health is passing.
    """

    name: str
    package_dir: str | None = None
    command: str | list[str] | None = None
    group: str = "default"
    topology: str = "standalone"
    strategy: str = "none"
    desired: Literal["up", "down"] = "up"
    health_interval: Annotated[float, Meta(gt=0.0, le=86400.0)] | None = None
    binds: dict[str, str] = {}
    after: dict[str, Condition] = {}
    binding_mode: Literal["strict", "relaxed"] = "strict"
    bind_ready: bool = False

    @property
    def service_group(self) -> ServiceGroup:
        """The group this service is a member of."""
        return ServiceGroup(self.name, self.group)


def parse_spec(data: bytes, file: str) -> Spec:
    """Read a spec file; ``file`` is what errors call it.

    Raises:
        OperatorError: one line that names the file and the path of the value.
    """
    if data.startswith(FIRST_LINE) and not data.rstrip().endswith(LAST_LINE.rstrip()):
        raise OperatorError(
            f"{file}: it is cut off, its last line '# end' is missing;"
            " mend it, or load the service again with 'sup start'"
        )
    return spec_from(parse_toml(data, file, bytes_max=SPEC_BYTES_MAX), file)


def spec_from(table: dict[str, Any], file: str) -> Spec:
    """Check a table (of a file, or of a request to the gateway) and make the spec of it.

    Raises:
        OperatorError: one line that names ``file`` and the path of the value.
    """
    spec = convert_table(table, Spec, file)
    check_spec(spec, file)
    return spec


def check_spec(spec: Spec, file: str) -> None:
    """Hold a spec to what its types can't say.

    Raises:
        OperatorError: a name is not a name, there is no program or two, or a bind is not a group.
    """
    for what, text in (
        ("name", spec.name),
        ("group", spec.group),
        ("topology", spec.topology),
        ("strategy", spec.strategy),
    ):
        check_name(text, f"{file}: {what}")
    if (spec.package_dir is None) == (spec.command is None):
        count = "neither" if spec.command is None else "both"
        raise OperatorError(f"{file}: {count} of package_dir and command is set; set one of them")
    if spec.package_dir is not None and (not spec.package_dir or "\0" in spec.package_dir):
        raise OperatorError(f"{file}: package_dir {spec.package_dir!r:.80} is not a path")
    check_command(spec.command, f"{file}: command")
    check_after(spec.after, spec.name, f"{file}: after")
    if len(spec.binds) > ENTRIES_MAX:
        raise OperatorError(f"{file}: binds has {len(spec.binds)} entries, limit is {ENTRIES_MAX}")
    for bind, target in spec.binds.items():
        check_name(bind, f"{file}: binds: name")
        try:
            parse_service_group(target)
        except OperatorError as error:
            raise OperatorError(f"{file}: binds.{bind}: {error.message}") from None


def format_spec(spec: Spec) -> bytes:
    """The spec as a TOML file that ``parse_spec`` reads back as the same value."""
    table = {k: v for k, v in msgspec.to_builtins(spec).items() if v is not None and v != {}}
    return FIRST_LINE + tomli_w.dumps(table).encode() + LAST_LINE
