"""A format-independent view of a file for the disassembler: code by address, and symbols."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from app.binary.model import Symbol

_address = attrgetter("address")
_MOST_SHOWN = 24
_MOST_LISTED = 200


@dataclass(frozen=True)
class CodeRange:
    """A range of code that starts at ``address``. ``read(offset, size)`` returns bytes of it."""

    address: int
    size: int
    read: Callable[[int, int], bytes]


@dataclass(frozen=True)
class Image:
    """A file as it lies in memory.

    ``mode`` is the width of a register in bits, or 16 for ARM's Thumb instructions. ``functions`` are the symbols of
    code, sorted by address. ``slots`` maps the address of each slot that the loader fills in to a symbol's name or to
    an address in this file.
    """

    machine: str
    mode: int
    spans: Sequence[CodeRange]
    functions: Sequence[Symbol]
    slots: Mapping[int, str | int] = field(default_factory=dict)
    big_endian: bool = False

    def code_at(self, address: int, size: int) -> bytes:
        """Return up to ``size`` bytes of code at an address, or no bytes if there is no code."""
        for span in self.spans:
            at = address - span.address
            if 0 <= at < span.size:
                return span.read(at, min(size, span.size - at))
        return b""

    def function_at(self, address: int) -> Symbol | None:
        """Return the function that begins exactly at an address."""
        found = self._before(address)
        return found if found and found.address == address else None

    def extent(self, address: int) -> int | None:
        """Return the number of bytes up to the end of the function or the next symbol, or None if it is unknown."""
        found = self._before(address)
        if found and found.address <= address < found.address + found.bytes:
            return found.address + found.bytes - address
        after = bisect_right(self.functions, address, key=_address)
        return self.functions[after].address - address if after < len(self.functions) else None

    def _before(self, address: int) -> Symbol | None:
        """Return the last function that begins at or before an address; of several at one address, the first."""
        at = bisect_right(self.functions, address, key=_address)
        if not at:
            return None
        return self.functions[bisect_left(self.functions, self.functions[at - 1].address, key=_address)]


def in_order(functions: Iterable[Symbol]) -> tuple[Symbol, ...]:
    """Sort by address. Of several names at one address, those with a size come first, then shorter ones."""
    return tuple(sorted(functions, key=lambda one: (one.address, not one.bytes, len(one.name), one.name)))


def in_memory(address: int, data: bytes) -> CodeRange:
    """Return a span of bytes that are already in memory."""
    return CodeRange(address, len(data), lambda at, size: data[at : at + size])


def largest(symbols: Iterable[Symbol]) -> tuple[Symbol, ...]:
    """Return the largest symbols, with only one for each address."""
    first: dict[int, Symbol] = {}
    for symbol in symbols:
        first.setdefault(symbol.address, symbol)
    return tuple(sorted(first.values(), key=lambda one: (-one.bytes, one.address))[:_MOST_SHOWN])


def listed(names: Iterable[str]) -> tuple[str, ...] | None:
    """Return the distinct names, sorted, or None if there are too many."""
    distinct = set(names)
    return tuple(sorted(distinct)) if len(distinct) <= _MOST_LISTED else None
