"""What the kernel says of the control group that the whole server is in: a container's, or a service's."""

from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_EVENTS = (_ROOT / "memory.events", _ROOT / "memory/memory.oom_control")
"""Where a container sees its own: version 2, version 1."""


def memory_kills(files: tuple[Path, ...] = _EVENTS) -> int:
    """How many processes here were killed because memory ran out; 0 where the kernel does not say."""
    for file in files:
        try:
            rows = dict(line.split(maxsplit=1) for line in file.read_text().splitlines())
        except (OSError, ValueError):
            continue
        return int(rows.get("oom_kill", 0))
    return 0
