"""Finds the format of a file and has it read: its facts, or the whole card.

pyelftools and LIEF raise what they like for a damaged file; here that becomes one error. What they cannot be kept from
(a loop, a crash, gigabytes) is the inspector's to hold.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, BinaryIO

from app.binary import calls, code, elf, lines, macho, pe
from app.binary.image import Image
from app.binary.model import NAMES, BinaryFacts, Card, Code, Instruction, NotABinaryError, Section, Symbols


def _never() -> bool:
    return False


def inspect(file: BinaryIO) -> BinaryFacts:
    """The facts of one file that can be read and sought in; raises ``NotABinaryError``."""
    return _begun(file)[2]


def examine(file: BinaryIO, late: Callable[[], bool] = _never, companions: Sequence[BinaryIO] = ()) -> Card:
    """The whole card of one file; raises ``NotABinaryError``.

    A part that cannot be read, or that would begin when ``late`` says so, is named in ``unread`` and left out.
    ``companions`` are the files beside it that know its lines, in formats which keep them there.
    """
    *_, card = drafts(file, late, companions)
    return card


def drafts(file: BinaryIO, late: Callable[[], bool], companions: Sequence[BinaryIO]) -> Iterator[Card]:
    """The same, but when there are companions, a card without lines comes first: reading them may never end."""
    return _Examination(file, late).cards(companions)


def _begun(file: BinaryIO) -> tuple[ModuleType, Any, BinaryFacts]:
    """The reader of the file's format, the file as that reader sees it, and its facts."""
    start = file.read(4)
    file.seek(0)
    reader = elf if start == b"\x7fELF" else pe if start.startswith(b"MZ") else macho if start in macho.MAGIC else None
    if reader is None:
        raise NotABinaryError("the file is no ELF, PE or Mach-O binary")
    try:
        parsed = reader.parsed(file)
        return reader, parsed, reader.facts(parsed)
    except NotABinaryError:
        raise
    except Exception as error:
        raise NotABinaryError(f"the file is damaged: {error}") from error


class _Examination:
    """One file being read, part by part, the quick and telling ones first."""

    def __init__(self, file: BinaryIO, late: Callable[[], bool]) -> None:
        self._file = file
        self._late = late
        self._unread: list[str] = []

    def cards(self, companions: Sequence[BinaryIO]) -> Iterator[Card]:
        reader, parsed, facts = _begun(self._file)
        size = self._file.seek(0, 2)
        sections = self._part("sections", lambda: _bounded(reader.sections(parsed), size), ())
        symbols, functions, undefined = self._part("symbols", lambda: reader.names(parsed), (None, (), ()))
        image = self._part("code", lambda: reader.image(parsed, functions), None)
        found: Code | None = None
        if image and facts.entry:
            found = self._part("code", lambda: code.function(image, _start(facts)), None)
        card = Card(
            facts=facts,
            bytes=size,
            sections=sections,
            symbols=symbols and _readable(symbols),
            code=found,
            calls=self._calls(facts, image, undefined),
            unread=tuple(dict.fromkeys(self._unread)),
        )
        if found:
            if companions:
                yield replace(card, unread=(*card.unread, "lines"))
            card = replace(card, code=self._with_lines(found, lambda shown: reader.rows(parsed, shown, companions)))
        yield replace(card, unread=tuple(dict.fromkeys(self._unread)))

    def _with_lines(self, found: Code, rows: Callable[[Sequence[Instruction]], Iterable[lines.Row]]) -> Code:
        shown = found.instructions
        return replace(found, instructions=self._part("lines", lambda: lines.with_lines(shown, rows(shown)), shown))

    def _calls(self, facts: BinaryFacts, image: Image | None, undefined: tuple[str, ...]) -> Any:
        if image is None or not facts.entry:
            return ()
        return self._part("calls", lambda: calls.before_main(image, _start(facts), facts.entry_symbol, undefined), ())

    def _part(self, name: str, read: Callable[[], Any], otherwise: Any) -> Any:
        if not self._late():
            try:
                return read()
            except Exception:  # noqa: S110  (what is unread is named)
                pass
        self._unread.append(name)
        return otherwise


def _readable(symbols: Symbols) -> Symbols:
    shown = tuple(replace(one, name=code.readable(one.name)) for one in symbols.shown)
    return replace(symbols, shown=shown, names=symbols.names and tuple(map(code.readable, symbols.names)))


def _start(facts: BinaryFacts) -> int:
    """Where the first instruction lies: ARM marks its short instructions in the lowest bit of an address."""
    entry = facts.entry or 0
    return entry & ~1 if facts.machine == "ARM" else entry


def _bounded(sections: Iterable[Section], size: int) -> tuple[Section, ...]:
    """The sections of a file of so many bytes: the largest, in their order, and what is left as one."""
    found = [one for one in sections if 0 < one.bytes <= size]
    kept = set(sorted(range(len(found)), key=lambda number: -found[number].bytes)[:NAMES])
    shown = [one for number, one in enumerate(found) if number in kept]
    rest = sum(one.bytes for number, one in enumerate(found) if number not in kept)
    return (*shown, Section("further sections", "other", rest)) if rest else tuple(shown)
