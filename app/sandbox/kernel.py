"""The kernel's counters for the control group of the whole server, such as a container's."""

from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_EVENTS = (_ROOT / "memory.events", _ROOT / "memory/memory.oom_control")
"""The files of a container's own group, in version 2 and version 1."""


def memory_kills(files: tuple[Path, ...] = _EVENTS) -> int:
    """Return how many processes of the group the kernel's OOM killer has ended; 0 if the kernel does not count."""
    for file in files:
        try:
            rows = dict(line.split(maxsplit=1) for line in file.read_text().splitlines())
        except (OSError, ValueError):
            continue
        return int(rows.get("oom_kill", 0))
    return 0
