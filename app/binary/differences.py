"""The differences between two binaries, by their cards."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from app.binary.model import Card

_MOST_NAMES = 12
_CHAIN = "before main"
_WORDS = ("format", "machine", "entry", "libraries", "loader", "subsystem", "C runtime", _CHAIN)


@dataclass(frozen=True)
class Change:
    """One difference, in words. ``more`` is the growth in bytes or symbols, or None if it is not a size or a count."""

    what: str
    before: str
    after: str
    more: int | None = None


@dataclass(frozen=True)
class CardDifferences:
    """The differences, and the symbols that were added and removed if both cards list all their names."""

    changes: tuple[Change, ...]
    came: tuple[str, ...] = ()
    went: tuple[str, ...] = ()


def compared(before: Card, after: Card) -> CardDifferences:
    """Return the differences between two cards."""
    changes = []
    # Two chains of one call each would only repeat the entry.
    short = len(before.calls) == len(after.calls) == 1
    for what, one, other in zip(_WORDS, _words(before), _words(after), strict=True):
        if one != other and not (what == _CHAIN and short):
            changes.append(Change(what, one, other))
    counts = [("bytes", before.bytes, after.bytes)]
    if before.symbols and after.symbols:
        counts.append(("symbols", before.symbols.defined, after.symbols.defined))
    was, now = by_kind(before), by_kind(after)
    counts += [(f"bytes of {kind}", was[kind], now[kind]) for kind in dict.fromkeys((*was, *now))]
    changes += [Change(what, f"{old:,}", f"{new:,}", new - old) for what, old, new in counts if old != new]
    if not before.symbols or not after.symbols or before.symbols.names is None or after.symbols.names is None:
        return CardDifferences(tuple(changes))
    old_names, new_names = set(before.symbols.names), set(after.symbols.names)
    return CardDifferences(
        tuple(changes),
        came=tuple(sorted(new_names - old_names))[:_MOST_NAMES],
        went=tuple(sorted(old_names - new_names))[:_MOST_NAMES],
    )


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


def by_kind(card: Card) -> Counter[str]:
    """Return the bytes of each kind of section. Bytes outside of all sections count as ``other``."""
    sizes: Counter[str] = Counter()
    for section in card.sections:
        sizes[section.kind] += section.bytes
    sizes["other"] += max(card.bytes - sizes.total(), 0)
    return +sizes


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
