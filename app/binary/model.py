"""What is said of a binary: the types that its readers fill in."""

from dataclasses import dataclass
from typing import BinaryIO, Literal

from app.protocol.visible import visible

NAME = 200
"""The longest name that is passed on; a hostile file may hold megabytes of one."""
NAMES = 64
"""The most names of one kind that are passed on."""


_WHOLE = 24 * 1024 * 1024


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


SectionKind = Literal["code", "constants", "data", "loader", "names", "debug", "other"]
"""What a section is for: ``loader`` is read by the dynamic loader, ``names`` are symbols and their texts."""


@dataclass(frozen=True)
class Section:
    """A part of the file: its bytes in the file and its address in memory, 0 when it is not loaded."""

    name: str
    kind: SectionKind
    bytes: int
    address: int = 0


@dataclass(frozen=True)
class Symbol:
    """A name that the file defines; ``bytes`` is 0 where the format does not say."""

    name: str
    address: int
    bytes: int = 0


@dataclass(frozen=True)
class Symbols:
    """The names that a file defines (``defined``) and only asks for (``undefined``): how many there are.

    ``shown`` are the largest, in the order of their size. ``names`` are all that are defined, sorted; None when they
    are too many to be passed on.
    """

    defined: int
    undefined: int
    shown: tuple[Symbol, ...]
    names: tuple[str, ...] | None


@dataclass(frozen=True)
class Instruction:
    """One instruction: its address, its bytes in hexadecimal, its text, the name that it leads to.

    ``file`` and ``line`` are the place in the source, where debug information says it.
    """

    address: int
    code: str
    text: str
    target: str | None = None
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True)
class Code:
    """The function at the entry address; ``truncated`` when it goes on behind what is shown."""

    symbol: str | None
    instructions: tuple[Instruction, ...]
    truncated: bool


@dataclass(frozen=True)
class Call:
    """A step from the first instruction to the learner's ``main``.

    ``how`` is ``entry`` for the first; ``calls`` when the one before calls it; ``hands over`` when it passes its
    address on; ``names`` when only its name was found. ``library``: it lies in another file.
    """

    name: str
    how: Literal["entry", "calls", "hands over", "names"]
    address: int | None = None
    library: bool = False


@dataclass(frozen=True)
class Card:
    """All that is shown of a binary. ``unread`` names the parts that could not be read, or not in time."""

    facts: BinaryFacts
    bytes: int
    sections: tuple[Section, ...] = ()
    symbols: Symbols | None = None
    code: Code | None = None
    calls: tuple[Call, ...] = ()
    unread: tuple[str, ...] = ()


def whole(file: BinaryIO) -> bytes:
    """All of a file, for a reader that holds it in memory twice; raises ``NotABinaryError`` when it is too large."""
    data = file.read(_WHOLE + 1)
    if len(data) > _WHOLE:
        raise NotABinaryError("the file is too large to be looked into")
    return data


def text(value: bytes | str) -> str:
    """A name as text of a sensible length; what is no UTF-8, or cannot be seen as it turns a line round, is U+FFFD."""
    if isinstance(value, bytes):
        value = value[: 4 * NAME].decode("utf-8", "replace")
    # Lone surrogates can be in a string of ours, but not in JSON.
    shown = value[:NAME].encode("utf-8", "replace").decode("utf-8")
    return visible(shown)
