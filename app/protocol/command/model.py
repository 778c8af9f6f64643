"""The types of the command line: accepted commands and refusals."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

CommandKind = Literal["cargo", "new", "rustc", "rustup", "lookup", "program", "emulate", "answer"]


class CommandError(ValueError):
    """A line that is refused; the message says what to type instead."""


class RefusedError(Exception):
    """Words that are refused.

    ``sentence`` says why. ``instead`` is the right command, if one is known, and is shown only if it is accepted. With
    ``asks`` it is offered as a question, because the words may have meant another command.
    """

    def __init__(self, sentence: str, instead: Sequence[str] = (), *, asks: bool = False) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.instead = tuple(instead)
        self.asks = asks


@dataclass(frozen=True)
class Command:
    """A command that may be run.

    ``argv`` has the typed words. ``kind`` says what answers the command. ``subcommand`` is cargo's or rustup's (aliases
    in their long form), or the name of an answer; ``options`` are the words before ``--``, ``rest`` those after it.
    ``needs_artifact`` is True if the command needs an artifact from an earlier run. ``note`` says how the command
    differs from the typed text.
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
    """Return the words as they would be typed."""
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
