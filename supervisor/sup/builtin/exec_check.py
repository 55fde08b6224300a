"""The built-in health check ``exec``: the package's ``health-check`` hook, by its exit code.

0 is ok, 1 warning, 2 critical, 3 and any other code unknown. Without a hook a service is ok as long
as its process is up. A hook that can't be started says nothing about the service: unknown. A hook
that hangs is critical: a check asks the service something, and no answer in time is the answer that
a client of the service would get. A hook that a signal ended is unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from sup.edge.hooks import run_hook
from sup.edge.process_tree import MARK_VARIABLE
from sup.edge.processes import ProcessError, new_mark
from sup.edge.users import resolve_credentials
from sup.errors import OperatorError
from sup.hookspecs import hookimpl
from sup.model.health import OUTPUT_BYTES_MAX, CheckResult, Health
from sup.policies import CheckContext, HealthCheck

HEALTH_OF_CODE: Mapping[int | None, Health] = {
    0: Health.OK,
    1: Health.WARNING,
    2: Health.CRITICAL,
    3: Health.UNKNOWN,
}


class ExecCheck:
    """Runs the hook once per check, as the service's user, in the service's environment."""

    async def check(self, context: CheckContext) -> CheckResult:
        """Run the hook, at most ``context.timeout_s``; kills its whole tree then."""
        if not context.process_up:
            return CheckResult(Health.CRITICAL, "the process is not up")
        if context.hook_path is None:
            return CheckResult(Health.OK)
        try:
            credentials = await asyncio.to_thread(resolve_credentials, context.user, context.group)
            result = await run_hook(
                [context.hook_path],
                directory=context.directory,
                environment=context.environment,
                mark=new_mark(context.environment.get(MARK_VARIABLE, "check")),
                timeout_s=context.timeout_s,
                credentials=credentials,
            )
        except (ProcessError, OperatorError) as error:
            return CheckResult(Health.UNKNOWN, str(error))
        output = _last_bytes(result.output)
        if result.timed_out:
            return CheckResult(Health.CRITICAL, result.reason, result.elapsed_ms)
        health = HEALTH_OF_CODE.get(result.exit_code, Health.UNKNOWN)
        if result.exit_code not in HEALTH_OF_CODE:
            output = result.reason
        return CheckResult(health, output, result.elapsed_ms)


@hookimpl
def sup_health_checks() -> Mapping[str, HealthCheck]:
    return {"exec": ExecCheck()}


def _last_bytes(text: str) -> str:
    return text.encode()[-OUTPUT_BYTES_MAX:].decode("utf-8", "ignore")
