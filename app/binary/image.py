"""What the disassembler needs to know of a file, whatever its format: bytes by address, and names."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from app.binary.model import Symbol

_address = attrgetter("address")
_SHOWN = 24
_LISTED = 200


@dataclass(frozen=True)
class CodeRange:
    """Code that lies in memory from ``address`` on; ``read`` gives so many bytes of it from an offset on."""

    address: int
    size: int
    read: Callable[[int, int], bytes]


@dataclass(frozen=True)
class Image:
    """A file as it lies in memory.

    ``functions`` are the symbols of code, sorted by address. ``slots`` says whose address the loader writes where: by
    the slot's address the name, or the address in this file. ``mode`` are the bits of a register, or 16 for ARM's
    short instructions.
    """

    machine: str
    mode: int
    spans: Sequence[CodeRange]
    functions: Sequence[Symbol]
    slots: Mapping[int, str | int] = field(default_factory=dict)
    big_endian: bool = False

    def code_at(self, address: int, size: int) -> bytes:
        """At most so many bytes of code from there on; none where there is no code."""
        for span in self.spans:
            at = address - span.address
            if 0 <= at < span.size:
                return span.read(at, min(size, span.size - at))
        return b""

    def function_at(self, address: int) -> Symbol | None:
        """The function that begins exactly there."""
        found = self._before(address)
        return found if found and found.address == address else None

    def extent(self, address: int) -> int | None:
        """The bytes from there to the end of the function or the next symbol; None when nothing says it."""
        found = self._before(address)
        if found and found.address <= address < found.address + found.bytes:
            return found.address + found.bytes - address
        after = bisect_right(self.functions, address, key=_address)
        return self.functions[after].address - address if after < len(self.functions) else None

    def _before(self, address: int) -> Symbol | None:
        """The function at the last address that is not behind it; of several names there the first."""
        at = bisect_right(self.functions, address, key=_address)
        if not at:
            return None
        return self.functions[bisect_left(self.functions, self.functions[at - 1].address, key=_address)]


def in_order(functions: Iterable[Symbol]) -> tuple[Symbol, ...]:
    """By address; of several names at one, first those with a size, the shortest before the others."""
    return tuple(sorted(functions, key=lambda one: (one.address, not one.bytes, len(one.name), one.name)))


def in_memory(address: int, data: bytes) -> CodeRange:
    """A span whose bytes are in memory already."""
    return CodeRange(address, len(data), lambda at, size: data[at : at + size])


def largest(symbols: Iterable[Symbol]) -> tuple[Symbol, ...]:
    """The largest symbols, each place once."""
    first: dict[int, Symbol] = {}
    for symbol in symbols:
        first.setdefault(symbol.address, symbol)
    return tuple(sorted(first.values(), key=lambda one: (-one.bytes, one.address))[:_SHOWN])


def listed(names: Iterable[str]) -> tuple[str, ...] | None:
    """The names, each once and sorted; None when they are too many."""
    once = set(names)
    return tuple(sorted(once)) if len(once) <= _LISTED else None
