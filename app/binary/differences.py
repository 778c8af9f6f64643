"""What has changed from one binary to the next: two cards in, the differences out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.binary.model import Card

_NAMES = 12


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was, in words; ``more`` is by how many bytes or names it grew, where it is a size."""

    what: str
    before: str
    after: str
    more: int | None = None


@dataclass(frozen=True)
class CardDifferences:
    """The differences, and the names that came and went as far as both files let all be listed."""

    changes: tuple[Change, ...]
    came: tuple[str, ...] = ()
    went: tuple[str, ...] = ()


def compared(before: Card, after: Card) -> CardDifferences:
    """What is different in ``after``."""
    came, went = _names(before, after)
    return CardDifferences((*_said(before, after), *_sizes(before, after)), came, went)


def _said(before: Card, after: Card) -> Iterator[Change]:
    for what, one, other in zip(_WORDS, _words(before), _words(after), strict=True):
        alone = what == _CHAIN and len(before.calls) == len(after.calls) == 1
        if one != other and not alone:
            yield Change(what, one, other)


_CHAIN = "before main"
"""With one link on both sides it would only say the entry once more."""
_WORDS = ("format", "machine", "entry", "libraries", "loader", "subsystem", "C runtime", _CHAIN)


def _words(card: Card) -> tuple[str, ...]:
    facts = card.facts
    entry = "none" if facts.entry is None else facts.entry_symbol or f"{facts.entry:#x}"
    return (
        facts.format,
        facts.machine,
        entry,
        _listed(facts.needed),
        facts.interpreter or "none",
        facts.subsystem or "none",
        _listed(facts.runtime),
        " → ".join(call.name for call in card.calls) or "none",
    )


def _sizes(before: Card, after: Card) -> Iterator[Change]:
    counted = [("bytes", before.bytes, after.bytes)]
    if before.symbols and after.symbols:
        counted.append(("symbols", before.symbols.defined, after.symbols.defined))
    one, other = by_kind(before), by_kind(after)
    counted += [(f"bytes of {kind}", one[kind], other[kind]) for kind in dict.fromkeys((*one, *other))]
    for what, was, now in counted:
        if was != now:
            yield Change(what, f"{was:,}", f"{now:,}", now - was)


def by_kind(card: Card) -> Counter[str]:
    """The bytes of each kind of section; what no section holds counts as ``other``."""
    sizes: Counter[str] = Counter()
    for section in card.sections:
        sizes[section.kind] += section.bytes
    sizes["other"] += max(card.bytes - sizes.total(), 0)
    return +sizes


def _names(before: Card, after: Card) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not before.symbols or not after.symbols or before.symbols.names is None or after.symbols.names is None:
        return (), ()
    was, now = set(before.symbols.names), set(after.symbols.names)
    return tuple(sorted(now - was))[:_NAMES], tuple(sorted(was - now))[:_NAMES]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
