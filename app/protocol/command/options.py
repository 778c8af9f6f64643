"""Options of a program as a table: which are accepted, with which values, and why the others are refused."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.protocol.command.model import RefusedError, cut

ANY = re.compile(r".*", re.DOTALL)


@dataclass(frozen=True)
class Option:
    """One option under all its names.

    ``takes`` is the pattern of its value, None for an option that stands alone. ``refused`` is the reason why it is
    not accepted, as a sentence; empty if it is. ``example`` is a value for sentences, ``about`` says what values are.
    """

    names: tuple[str, ...]
    takes: re.Pattern[str] | None = None
    refused: str = ""
    example: str = ""
    about: str = ""


def flags(*names: str) -> tuple[Option, ...]:
    """Return accepted options that stand alone; each text holds the names of one."""
    return tuple(Option(tuple(each.split())) for each in names)


def valued(names: str, pattern: str, example: str, about: str = "") -> Option:
    """Return an accepted option with a value."""
    return Option(tuple(names.split()), re.compile(pattern, re.DOTALL), example=example, about=about)


def refused(names: str, reason: str, *, value: bool = False) -> Option:
    """Return an option that is refused for that reason."""
    return Option(tuple(names.split()), ANY if value else None, reason)


@dataclass(frozen=True)
class Given:
    """An option as it was typed, or a word that is not an option.

    ``words`` are the typed words, including the value. ``option`` is None for a free word and for an unknown option.
    """

    words: tuple[str, ...]
    option: Option | None = None
    value: str | None = None

    @property
    def name(self) -> str:
        word = self.words[0]
        if self.option and self.option.takes and word not in self.option.names and not word.startswith("--"):
            return word[:2]
        return word.partition("=")[0] if word.startswith("--") else word

    @property
    def free(self) -> bool:
        return self.option is None and (not self.words[0].startswith("-") or self.words[0] == "-")

    @property
    def fits(self) -> bool:
        """Return True for an accepted option with a value that it takes."""
        if self.option is None or self.option.refused:
            return False
        if self.option.takes is None:
            return self.value is None
        return self.value is not None and bool(self.option.takes.fullmatch(self.value))


def words_of(given: Iterable[Given]) -> tuple[str, ...]:
    """Return the typed words of several options."""
    return tuple(word for each in given for word in each.words)


class Options:
    """The options of one program or subcommand, ``who``."""

    def __init__(self, who: str, options: Iterable[Option]) -> None:
        self.who = who
        self.all = tuple(options)
        self._by_name = {name: option for option in self.all for name in option.names}

    def find(self, name: str) -> Option | None:
        """Return the option of that name."""
        return self._by_name.get(name)

    def read(self, words: Iterable[str]) -> list[Given]:
        """Return the words as options with their values; nothing is judged yet."""
        following = iter(words)
        return [self._read_one(word, following) for word in following]

    def _read_one(self, word: str, following: Iterator[str]) -> Given:
        if not word.startswith("-") or word == "-":
            return Given((word,))
        if option := self.find(word):
            if option.takes is None:
                return Given((word,), option)
            value = next(following, None)
            return Given((word,) if value is None else (word, value), option, value)
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            return Given((word,), self.find(name), value) if equals else Given((word,))
        return self._read_short(word)

    def _read_short(self, word: str) -> Given:
        """Return a short option with its value in the same word, or several that stand alone."""
        option = self.find(word[:2])
        if option and option.takes:
            return Given((word,), option, word[2:])
        bundled = [self.find(f"-{letter}") for letter in word[1:]]
        together = all(each and each.takes is None and not each.refused for each in bundled)
        return Given((word,), bundled[0] if together else None)

    def problem(self, given: Given, before: Sequence[str], after: Sequence[str]) -> RefusedError:
        """Return why an option does not fit; ``before`` and ``after`` are the words of the command around it."""
        option, name = given.option, given.name
        if option is None:
            return self._unknown(given.words[0], before, after)
        if option.refused:
            return RefusedError(option.refused, (*before, *after))
        if given.value is None:
            return RefusedError(f"`{name}` needs a value, such as `{name} {option.example}`.")
        if option.takes is None:
            return RefusedError(f"`{name}` takes no value.", (*before, name, *after))
        about = option.about or f"an example is `{name} {option.example}`"
        return RefusedError(f"`{cut(given.value)}` is not a value of `{name}`; {about}.")

    def _unknown(self, word: str, before: Sequence[str], after: Sequence[str]) -> RefusedError:
        meant = self.nearest(word)
        sentence = f"`{self.who}` has no option `{cut(word, 40)}`."
        if meant is None:
            return RefusedError(f"{sentence[:-1]}; `{self.who} --help` lists them all.")
        equals = word.partition("=")[1:]
        return RefusedError(sentence, (*before, meant + "".join(equals), *after), asks=True)

    def nearest(self, word: str) -> str | None:
        """Return the name of the accepted option that was most likely meant; None if none is near."""
        name = word.partition("=")[0].lower()
        accepted = [each for option in self.all if not option.refused for each in option.names]
        for exact in (name, f"-{name}", f"--{name.lstrip('-')}"):
            if exact in accepted and exact != word:
                return exact
        found = difflib.get_close_matches(f"--{name.lstrip('-')}", accepted, n=1, cutoff=0.75)
        return found[0] if found else None


def nearest(word: str, names: Iterable[str]) -> str | None:
    """Return the name that a misspelt word most likely meant; None if none is near."""
    found = difflib.get_close_matches(word.lower(), list(names), n=1, cutoff=0.7)
    return found[0] if found else None
