"""Choose the reader for a file's format and read its facts or its whole card.

pyelftools and LIEF raise various exceptions for a damaged file; this module turns them into ``NotABinaryError``. The
inspector's sandbox contains the other effects of a damaged file: an endless loop, a crash, gigabytes of memory.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, BinaryIO

from app.binary import calls, code, elf, lines, names
from app.binary.model import MOST_NAMES, BinaryFacts, Call, Card, Code, NotABinaryError, Section

_ELF, _PE = b"\x7fELF", b"MZ"
_MACH_O = (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe")


def needs_lief(file: BinaryIO) -> bool:
    """Return True if LIEF reads files of the file's format."""
    start = _start(file)
    return start.startswith(_PE) or start in _MACH_O


def import_lief() -> None:
    """Import the readers that use LIEF, which takes three times as long as all others together."""
    from app.binary import macho, pe  # noqa: F401, PLC0415 - as above


def inspect(file: BinaryIO) -> BinaryFacts:
    """Return the facts about a seekable file. Raises ``NotABinaryError``."""
    return _parse(file)[2]


def examine(file: BinaryIO, late: Callable[[], bool] = lambda: False, companions: Sequence[BinaryIO] = ()) -> Card:
    """Return the whole card of a file. Raises ``NotABinaryError``.

    A part is left out and named in ``unread`` if it cannot be read, or if ``late`` returns True before it is begun.
    ``companions`` are files beside it that hold its source lines, for formats that keep them there.
    """
    *_, card = drafts(file, late, companions)
    return card


def drafts(file: BinaryIO, late: Callable[[], bool], companions: Sequence[BinaryIO]) -> Iterator[Card]:
    """Yield the whole card. If there are companions, first yield a card without lines: reading them may never end."""
    return _Examination(file, late).cards(companions)


def _parse(file: BinaryIO) -> tuple[ModuleType, Any, BinaryFacts]:
    """Return the reader for the file's format, the file in that reader's form, and its facts."""
    reader = _reader_for(file)
    try:
        parsed = reader.parse(file)
        return reader, parsed, reader.facts(parsed)
    except NotABinaryError:
        raise
    except Exception as error:
        raise NotABinaryError(f"the file is damaged: {error}") from error


def _reader_for(file: BinaryIO) -> ModuleType:
    start = _start(file)
    if start == _ELF:
        return elf
    if not needs_lief(file):
        raise NotABinaryError("the file is not an ELF, PE or Mach-O binary")
    from app.binary import macho, pe  # noqa: PLC0415 - see import_lief

    return pe if start.startswith(_PE) else macho


def _start(file: BinaryIO) -> bytes:
    """Return the file's first four bytes, and go back to its start."""
    start = file.read(4)
    file.seek(0)
    return start


class _Examination:
    """Reads one file part by part, starting with the parts that are quick to read and say the most."""

    def __init__(self, file: BinaryIO, late: Callable[[], bool]) -> None:
        self._file = file
        self._late = late
        self._unread: list[str] = []

    def cards(self, companions: Sequence[BinaryIO]) -> Iterator[Card]:
        reader, parsed, facts = _parse(self._file)
        size = self._file.seek(0, 2)
        sections = self._part("sections", lambda: _largest_sections(reader.sections(parsed), size), ())
        symbols, functions, undefined = self._part("symbols", lambda: reader.names(parsed), (None, (), ()))
        if symbols:
            shown = tuple(replace(one, name=names.readable(one.name)) for one in symbols.shown)
            shown_names = symbols.names and tuple(map(names.readable, symbols.names))
            symbols = replace(symbols, shown=shown, names=shown_names)
        image = self._part("code", lambda: reader.image(parsed, functions), None)
        found: Code | None = None
        chain: tuple[Call, ...] = ()
        if image and facts.entry:
            # ARM marks Thumb instructions in the lowest bit of an address.
            start = facts.entry & ~1 if facts.machine == "ARM" else facts.entry
            found = self._part("code", lambda: code.function(image, start), None)
            chain = self._part("calls", lambda: calls.before_main(image, start, facts.entry_symbol, undefined), ())
        card = Card(facts, size, sections, symbols, found, chain, tuple(dict.fromkeys(self._unread)))
        if found:
            if companions:
                yield replace(card, unread=(*card.unread, "lines"))
            plain = found.instructions
            placed = self._part("lines", lambda: lines.with_lines(plain, reader.rows(parsed, plain, companions)), plain)
            card = replace(card, code=replace(found, instructions=placed))
        yield replace(card, unread=tuple(dict.fromkeys(self._unread)))

    def _part(self, name: str, read: Callable[[], Any], otherwise: Any) -> Any:
        if not self._late():
            try:
                return read()
            except Exception:  # noqa: S110 - the part is listed as unread
                pass
        self._unread.append(name)
        return otherwise


def _largest_sections(sections: Iterable[Section], size: int) -> tuple[Section, ...]:
    """Return the largest sections of a file of ``size`` bytes, in the file's order, and the rest as one section."""
    found = [one for one in sections if 0 < one.bytes <= size]
    kept = set(sorted(range(len(found)), key=lambda number: -found[number].bytes)[:MOST_NAMES])
    shown = [one for number, one in enumerate(found) if number in kept]
    rest = sum(one.bytes for number, one in enumerate(found) if number not in kept)
    return (*shown, Section("further sections", "other", rest)) if rest else tuple(shown)
