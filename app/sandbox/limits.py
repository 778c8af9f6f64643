"""The limits of a run, and the sentence for each limit that ends one."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.protocol.events import Limit
from app.settings import Settings

SENTENCES: Mapping[Limit, str] = {
    "cpu": "it used more than {cpu_seconds:g} seconds of processor time",
    "memory": "it used more than {memory_bytes:m} of memory",
    "processes": "it had more than {processes} processes and threads at once",
    "files": "it made more than {workspace_files} files",
    "file-size": "it wrote a file that is larger than {file_size_bytes:m}",
    "workspace": "its files grew larger than {workspace_bytes:m} together",
    "output": "it printed more than {output_bytes:m}",
}


@dataclass(frozen=True)
class Limits:
    """The limits of one run, in seconds, bytes and counts. Without a comment, a limit is for all processes together."""

    cpu_seconds: float
    memory_bytes: int
    processes: int  # and threads
    open_files: int  # per process
    file_size_bytes: int  # per file
    workspace_bytes: int
    workspace_files: int
    output_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Return the limits from the settings."""
        return cls(**{name: getattr(settings, name) for name in cls.__dataclass_fields__})

    def sentence(self, limit: Limit) -> str:
        """Return the sentence for learners whose run was ended by a limit."""
        values = {name: _Size(getattr(self, name)) for name in self.__dataclass_fields__}
        return f"The run was ended here: {SENTENCES[limit].format_map(values)}."


class _Size:
    """A number whose format ``m`` writes it in KiB or MiB."""

    def __init__(self, value: float) -> None:
        self._value = value

    def __format__(self, spec: str) -> str:
        if spec != "m":
            return format(self._value, spec)
        small = self._value < 2 * 1024 * 1024
        return f"{self._value / 1024:g} KiB" if small else f"{self._value / 1024 / 1024:g} MiB"
