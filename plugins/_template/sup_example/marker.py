"""The health check ``marker``: a service is well while a file of its choice exists.

Settings: ``file``, a path relative to the service's directory, ``healthy`` by default::

    [service.health]
    kind = "marker"
    file = "data/ready"
"""

import asyncio
from pathlib import Path

from sup.plugin_api import CheckContext, CheckResult, Health


class MarkerFile:
    """OK if the file is there, critical if not."""

    async def check(self, context: CheckContext) -> CheckResult:
        """Look once, in a thread, for a disk may hang and the supervisor must not."""
        file = Path(context.directory) / str(context.settings.get("file", "healthy"))
        try:
            async with asyncio.timeout(context.timeout_s):
                there = await asyncio.to_thread(file.exists)
        except TimeoutError:
            return CheckResult(Health.UNKNOWN, f"no answer in {context.timeout_s} s")
        if there:
            return CheckResult(Health.OK, f"{file.name} is there")
        return CheckResult(Health.CRITICAL, f"{file.name} is missing")
