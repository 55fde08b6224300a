STEPS: tuple[str, ...]
RLIMIT_NAMES: dict[str, int]
ARGUMENTS_MAX: int

class SpawnError(OSError):
    step: str
    which: str
    def __init__(self, error: int, step: str, which: str) -> None: ...

def candidates(program: bytes, search: bytes) -> list[bytes]: ...
def spawn(
    argv: list[bytes],
    environment: list[bytes],
    directory: bytes,
    *,
    stdin: int,
    stdout: int,
    stderr: int,
    keep: int = -1,
    cgroup: int = -1,
    credentials: tuple[int, int, tuple[int, ...]] | None = None,
    umask: int = 0o027,
    limits: list[tuple[int, int, int]] | None = None,
    oom: int | None = None,
    nice: int | None = None,
    new_privileges: bool = True,
    search: bytes = b"/usr/local/bin:/usr/bin:/bin",
) -> int: ...
