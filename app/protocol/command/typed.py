"""Split typed or pasted text into words, with a note of what was read differently.

The line is split as a shell would split it, and never given to a shell. What can mean only one command is read as
that one: a prompt before it, a comment behind it, typographic quotation marks and dashes, the backslashes of Windows'
paths and those that join lines.
"""

import re
import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from app.protocol.command.model import CommandError, RefusedError, shown

LONGEST = 1000

_PROMPT = re.compile(
    r"\s*(?:PS(?: [A-Za-z]:[^<>|\n]*)?|[A-Za-z]:\\[^<>|\n]*|[\w.-]{1,60}@[^\s$#%>]{1,120}(?: [^\s$#%>]{1,120})?|~\S*)?"
    "\\s*[$>%#\u276f\u279c\u00bb](\\s*)(?=\\S)"
)
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
_DOUBLE = "\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\u301d\u301e\uff02"
_SINGLE = "\u2018\u2019\u201a\u201b\u2032\uff07"
_SPACES = dict.fromkeys([0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000], " ")
_UNSEEN = dict.fromkeys([0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0xAD])
_STRAIGHT = str.maketrans(_DOUBLE + _SINGLE, '"' * len(_DOUBLE) + "'" * len(_SINGLE))
_HYPHENS = str.maketrans(_DASHES, "-" * len(_DASHES))
_SINGLE_DASH = re.compile(r"nostartfiles|nostdlib|nodefaultlibs|static|no-pie|pie|[A-Za-z]($|link|panic|opt|linker)")
_UNFIT = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Control characters, and halves of surrogate pairs, which no program can be given."""
_OPERATORS = frozenset("|&;<>()")
_PLACEHOLDER = re.compile(r"(?<![\w'\"])<([A-Za-z][\w -]*)>")

PROMPT = "without the prompt"
COMMENT = "without the comment"
QUOTES = "with straight quotation marks"
DASHES = "with hyphens instead of dashes"
SLASHES = "with slashes instead of backslashes"
JOINED = "as one line"
TICKS = "without the backticks"
SEMICOLON = "without the semicolon"
SPACES = "with ordinary spaces"
CAPITALS = "in lower case"
SUFFIX = "without `.exe`"


@dataclass(frozen=True)
class Typed:
    """The words of a line. ``changes`` say what was read otherwise than typed."""

    words: tuple[str, ...]
    changes: tuple[str, ...]

    @property
    def note(self) -> str:
        """Return a sentence about what was read, empty if it is what was typed."""
        return f"Read as `{shown(self.words)}`, {' and '.join(self.changes)}." if self.changes else ""


def read(line: str, programs: Collection[str]) -> Typed:
    """Split a line into words; ``programs`` are the names that a prompt may stand before.

    Raises ``CommandError`` or ``RefusedError``.
    """
    if len(line) > LONGEST:
        raise CommandError(f"A command is at most {LONGEST} characters long.")
    changes: list[str] = []
    bare = line.strip().removeprefix("`").removesuffix("`") if re.fullmatch(r"\s*`[^`]+`\s*", line) else line
    if bare != line:
        changes.append(TICKS)
    spaced = bare.translate(_SPACES).translate(_UNSEEN)
    if spaced != bare:
        changes.append(SPACES)
    if _UNFIT.search(spaced):
        raise CommandError("A command is one line without control characters.")
    without = "\n".join(_without_prompt(each, programs) for each in spaced.strip().splitlines())
    if without != "\n".join(spaced.strip().splitlines()):
        changes.append(PROMPT)
    words = _words(without, changes)
    if len(words) > 1 and words[-1] == ";":
        changes.append(SEMICOLON)
        words = words[:-1]
    words = _with_hyphens(words, changes)
    words = _lower_case(words, programs, changes)
    return Typed(words, tuple(changes))


def _without_prompt(line: str, programs: Collection[str]) -> str:
    match = _PROMPT.match(line)
    if match is None:
        return line
    first = line[match.end() :].split(maxsplit=1)[0]
    plain = first.casefold().removesuffix(".exe")
    path = first.replace("\\", "/").removeprefix("./").startswith("target/")
    named = plain in programs or path or re.match(r"[A-Z_]+=", first) is not None
    # A line such as `# Linux` is a comment, and `$env:NAME` a variable.
    return line[match.end() :] if named or (match[1] and match[0].strip()[-1] in "$>") else line


def _words(text: str, changes: list[str]) -> tuple[str, ...]:
    lines = [each for line in _plain(text, changes).split("\n") if (each := line.strip())]
    if len(lines) > 1:
        raise CommandError(f"A command is one line; the first one here is `{lines[0]}`.")
    if not lines:
        raise CommandError("Type a command, such as `cargo build`; `help` lists what can be run here.")
    if match := _PLACEHOLDER.search(lines[0]):
        raise RefusedError(f"`{match[0]}` stands for a value of your own: write that, without `<` and `>`.")
    try:
        lexer = shlex.shlex(lines[0], posix=True, punctuation_chars="".join(_OPERATORS))
        lexer.whitespace_split = True
        lexer.commenters = ""
        words = tuple(lexer)
    except ValueError as error:
        raise CommandError("A quotation mark in the command is not closed.") from error
    if not words:
        raise CommandError("Type a command, such as `cargo build`; `help` lists what can be run here.")
    return words


def is_operator(word: str) -> bool:
    """Return True for a word that only a shell understands."""
    return bool(word) and set(word) <= _OPERATORS


def _plain(text: str, changes: list[str]) -> str:
    """Return the text with straight quotation marks and without comments and joined lines."""
    reader = _Reader(text)
    plain = reader.read()
    if reader.open in ("'", '"') and text.translate(_STRAIGHT) != text:
        # Opened by a straight mark and closed by a typographic one.
        reader = _Reader(text.translate(_STRAIGHT))
        plain = reader.read()
        reader.changes.append(QUOTES)
    changes += dict.fromkeys(reader.changes)
    return plain


class _Reader:
    """Reads a text once, and knows whether it is within quotation marks."""

    def __init__(self, text: str) -> None:
        self.changes: list[str] = []
        self.open = ""
        self._text = text
        self._at = 0

    def read(self) -> str:
        pieces = []
        while self._at < len(self._text):
            pieces.append(self._quoted() if self.open else self._outside())
            self._at += 1
        return "".join(pieces)

    def _quoted(self) -> str:
        character, mark = self._text[self._at], self._mark(self.open[0])
        if character in self.open:
            self.open = ""
            return mark
        return self._backslash() if character == "\\" and mark == '"' else character

    def _outside(self) -> str:
        character = self._text[self._at]
        if character in "\"'":
            self.open = character
            return character
        if character in _DOUBLE or character in _SINGLE:
            self.open = character + (_DOUBLE + '"' if character in _DOUBLE else _SINGLE + "'")
            self.changes.append(QUOTES)
            return self._mark(character)
        if character == "\\" or (character in "`^" and self._is_after_space() and self._joins_lines()):
            return self._backslash()
        if self._is_comment():
            return self._skip_comment()
        return character

    @staticmethod
    def _mark(character: str) -> str:
        return character.translate(_STRAIGHT)

    def _is_after_space(self) -> bool:
        return self._at == 0 or self._text[self._at - 1].isspace()

    def _joins_lines(self) -> bool:
        return not self._text[self._at + 1 : self._at + 2].strip()

    def _backslash(self) -> str:
        after = self._text[self._at + 1 : self._at + 2]
        if not self.open and self._joins_lines():
            self.changes.append(JOINED)
            self._at += len(self._text[self._at + 1 :]) - len(self._text[self._at + 1 :].lstrip())
            return " "
        if after.isalnum() or after in ("_", "."):
            self.changes.append(SLASHES)
            return "/"
        self._at += 1
        return f"\\{after}"

    def _is_comment(self) -> bool:
        rest = self._text[self._at :]
        return self._is_after_space() and (
            (rest[0] == "#" and rest[1:2] not in ("!", "[")) or re.match(r"//(\s|$)", rest) is not None
        )

    def _skip_comment(self) -> str:
        end = self._text.find("\n", self._at)
        self._at = len(self._text) if end < 0 else end
        self.changes.append(COMMENT)
        return "\n"


def _with_hyphens(words: tuple[str, ...], changes: list[str]) -> tuple[str, ...]:
    kept = len(words)
    if words[:1] == ("cargo",) and words[1:2] and words[1] in ("run", "r", "test", "t") and "--" in words:
        kept = words.index("--")  # what follows is for the program
    plain = (*map(_hyphenate, words[:kept]), *words[kept:])
    if plain != words:
        changes.append(DASHES)
    return plain


def _hyphenate(word: str) -> str:
    rest = word.lstrip(f"-{_DASHES}")
    lead, rest = word[: len(word) - len(rest)], rest.translate(_HYPHENS)
    if not set(lead) & set(_DASHES):
        return lead + rest
    return ("-" if _SINGLE_DASH.match(rest) or rest[:1].isupper() else "--") + rest


def _lower_case(words: tuple[str, ...], programs: Iterable[str], changes: list[str]) -> tuple[str, ...]:
    first = words[0]
    plain = first.casefold()
    if plain.endswith(".exe") and plain.removesuffix(".exe") in programs:
        changes.append(SUFFIX)
        plain = plain.removesuffix(".exe")
        first = first[:-4]
    if plain in programs and plain != first:
        changes.append(CAPITALS)
        first = plain
    if first == "cargo" and len(words) > 1 and words[1] != words[1].lower() and words[1].isalpha():
        changes.append(CAPITALS)
        return (first, words[1].lower(), *words[2:])
    return (first, *words[1:])
