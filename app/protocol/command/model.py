"""The types of the command line: what may be run, and why something may not."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

CommandKind = Literal["cargo", "new", "rustc", "rustup", "lookup", "program", "emulate", "answer"]


class CommandError(ValueError):
    """A line that is refused; the message says what to type instead."""


class RefusedError(Exception):
    """Words that are refused.

    ``sentence`` says why. ``instead`` is the right command where one is known. It is only shown if it is accepted.
    ``asks`` offers it as a question, because the words may have meant another one.
    """

    def __init__(self, sentence: str, instead: Sequence[str] = (), *, asks: bool = False) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.instead = tuple(instead)
        self.asks = asks


@dataclass(frozen=True)
class Command:
    """A command that may be run.

    ``argv`` is what was typed, in words. ``kind`` says who answers it. ``subcommand`` is cargo's or rustup's
    (aliases in their long form), or the name of an answer, ``options`` the words before ``--``, ``rest`` those after
    it. ``needs_artifact``: only useful with something built before. ``note`` says what was read otherwise than typed.
    """

    argv: tuple[str, ...]
    kind: CommandKind
    subcommand: str = ""
    options: tuple[str, ...] = ()
    rest: tuple[str, ...] = field(default=())
    needs_artifact: bool = False
    note: str = ""

    @property
    def program(self) -> str:
        return self.argv[0]

    @property
    def target(self) -> str | None:
        """The triple that was typed after ``--target``, or None."""
        words = iter(self.options)
        for word in words:
            name, equals, value = word.partition("=")
            if name == "--target":
                return value if equals else next(words, None)
        return None

    @property
    def flags_by_hand(self) -> bool:
        """Return True if flags for the compiler or the linker were typed, rather than configured."""
        return self.kind == "cargo" and self.subcommand == "rustc" and bool(self.rest)


def shown(words: Sequence[str]) -> str:
    """Return the words as one would type them."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if word and not set(word) & set(" \t\"'\\$`|&;<>()*?#~!"):
        return word
    if "'" not in word and set(word) & set('"\\$`'):
        return f"'{word}'"
    name, equals, value = word.partition("=")
    if equals and not set(name) & set(" \t\"'"):
        return f'{name}="{value}"'
    return f'"{word}"'


def cut(word: str, longest: int = 60) -> str:
    """Return the word, shortened for a sentence."""
    return word if len(word) <= longest else f"{word[: longest - 1]}…"
