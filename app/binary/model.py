"""What is said of a binary: the types that its readers fill in."""

from dataclasses import dataclass

NAME = 200
"""The longest name that is passed on; a hostile file may hold megabytes of one."""
NAMES = 64
"""The most names of one kind that are passed on."""


class NotABinaryError(ValueError):
    """The bytes are of no format that is known here, or are damaged."""


@dataclass(frozen=True)
class BinaryFacts:
    """What a linked file says of itself; the fields are those of the ``artifact`` event.

    ``entry`` is the address where it begins in memory; 0 when the linker found no such place, None when the format
    gives none. ``subsystem`` is Windows' word for the kind of program, None in other formats.
    """

    format: str
    machine: str
    entry: int | None
    entry_symbol: str | None
    needed: tuple[str, ...]
    interpreter: str | None
    runtime: tuple[str, ...]
    subsystem: str | None = None


def text(value: bytes | str) -> str:
    """A name as text of a sensible length; bytes that are no UTF-8 become U+FFFD."""
    if isinstance(value, bytes):
        value = value[: 4 * NAME].decode("utf-8", "replace")
    # Lone surrogates can be in a string of ours, but not in JSON.
    return value[:NAME].encode("utf-8", "replace").decode("utf-8")
