"""Flags for the compiler: validate and correct them."""

import re
from collections import deque
from collections.abc import Iterator, Sequence

from app.protocol.command.model import RefusedError, cut
from app.protocol.command.options import Given, nearest, words_of
from app.protocol.command.rustc_table import BEHIND, CODEGEN, LINKERS, REQUIRED

START_FILES = ("-nostartfiles", "-nostdlib")
_OF_LINKER = re.compile(
    r"-?-?(nostartfiles|nostdlib|nodefaultlibs|static(-pie)?|no-pie|pie)|-e(=?_\w+)?|-T\S*|-Wl,\S+|-fuse-ld=\S+|-lcrt0\.o"
    r"|(?i:/(ENTRY|SUBSYSTEM|NODEFAULTLIB)(:\S+)?)"
)
_CODEGEN_BARE = re.compile(r"-{0,2}((?:link|linker|panic|relocation|target|opt|code|strip|lto)[a-z_-]*=.+)", re.DOTALL)
_NEARLY_C = ("-c", "C", "--C", "-codegen")
_LINK_ARGS = ("link-arg", "link-args")


def problem(words: Sequence[str]) -> RefusedError | None:
    """Return the refusal of the words after ``cargo rustc --``, or None if they are accepted.

    Its ``instead`` has the corrected words, if these are known.
    """
    given = BEHIND.read(words)
    for number, each in enumerate(given):
        found = _unquoted(given, number) or _problem(each, given, number)
        if found:
            return RefusedError(found.sentence, found.instead or corrected(words), asks=found.asks)
    return None


def _unquoted(given: Sequence[Given], number: int) -> RefusedError | None:
    """Return the refusal of a linker's arguments that need quotation marks around all of them."""
    each, word = given[number], given[number].words[0]
    last = given[number - 1] if number else None
    if last is None or not (last.value or "").startswith(("link-arg=", "link-args=")):
        return None
    if not (_OF_LINKER.fullmatch(word) or (each.free and "=" not in word)):
        return None
    return RefusedError(
        f"Several arguments for the linker need quotation marks, or `{cut(word, 30)}` is not among them."
    )


def _problem(each: Given, given: Sequence[Given], number: int) -> RefusedError | None:
    word = each.words[0]
    if _OF_LINKER.fullmatch(word):
        return RefusedError(f"`{word}` is for the linker: pass it with `-C link-arg=`.")
    if word in _NEARLY_C:
        return RefusedError("The option is a capital letter after one hyphen, `-C`.")
    if each.option is None and _CODEGEN_BARE.fullmatch(word):
        return RefusedError(f"`{cut(word.lstrip('-'))}` needs `-C` before it.")
    if each.free:
        return RefusedError(f"Only compiler options may follow `cargo rustc --`, and `{cut(word, 40)}` is not one.")
    if not each.fits:
        return BEHIND.problem(each, words_of(given[:number]), words_of(given[number + 1 :]))
    return _codegen_problem(each.value or "", given, number) if each.name in ("-C", "--codegen") else None


def _codegen_problem(  # noqa: PLR0911 - a branch for each mistake
    value: str, given: Sequence[Given], number: int
) -> RefusedError | None:
    name, equals, rest = value.partition("=")
    option = CODEGEN.get(name.replace("_", "-"))
    if text := _spaced(name, rest):
        return RefusedError(
            "No spaces belong around the `=`, and none before the name.", (*words_of(given[:number]), "-C", text)
        )
    if _OF_LINKER.fullmatch(value):
        return RefusedError("An argument for the linker needs `link-arg=` before it.")
    if option is None:
        meant = nearest(name.replace("_", "-"), [each for each, option in CODEGEN.items() if not option.refused])
        sentence = f"`-C` has no option `{cut(name, 40)}`; `rustc -C help` lists them all."
        if meant is None:
            return RefusedError(sentence)
        instead = (*words_of(given[:number]), "-C", meant + equals + rest, *words_of(given[number + 1 :]))
        return RefusedError(f"`-C` has no option `{cut(name, 40)}`.", instead, asks=True)
    if option.refused:
        return RefusedError(option.refused, (*words_of(given[:number]), *words_of(given[number + 1 :])))
    if not rest and (equals or name in REQUIRED):
        return RefusedError(f"`-C {name}` needs a value, such as `-C {name}={option.example}`.")
    if option.takes and rest and not option.takes.fullmatch(rest):
        return RefusedError(f"`{cut(rest)}` is not among the linkers here: {', '.join(LINKERS)}.")
    return None


def _spaced(name: str, rest: str) -> str:
    """Return the option without the spaces around its name and value; empty if there are none."""
    if name == name.strip() and rest == rest.lstrip():
        return ""
    return f"{name.strip()}={rest.strip()}" if rest else name.strip()


def corrected(words: Sequence[str]) -> tuple[str, ...]:
    """Return flags in the form that the compiler accepts. Adds missing ``-C``, ``link-arg=`` and quotation marks."""
    left = deque(words)
    right: list[str] = []
    while left:
        word = left.popleft()
        if word in ("-C", "--codegen", *_NEARLY_C):
            right += _codegen(left.popleft() if left else "", left)
        elif word.startswith("-C") and len(word) > 2:
            right += _codegen(word[2:].lstrip("="), left)
        elif _OF_LINKER.fullmatch(word):
            right += _of_linker(word, left)
        elif _CODEGEN_BARE.fullmatch(word) or word.lstrip("-") in _LINK_ARGS:
            right += _codegen(word.lstrip("-"), left)
        else:
            right.append(word)
    return tuple(right)


def _codegen(text: str, left: deque[str]) -> tuple[str, ...]:
    """Return one option of ``-C``; what belongs to its value is taken from the words that are left."""
    name, _, value = (part.strip() for part in text.partition("="))
    if _OF_LINKER.fullmatch(text):
        return _of_linker(text, left)
    while not value and left and left[0] == "=":
        left.popleft()
    if not value and left and (name in _LINK_ARGS or (name in REQUIRED and not left[0].startswith("-"))):
        value = left.popleft().removeprefix("=")
    if name not in _LINK_ARGS:
        return ("-C", f"{name}={value}" if value else name)
    if re.fullmatch(r"nostartfiles|nostdlib|nodefaultlibs|static", value):
        value = f"-{value}"
    values = [value, *_take_arguments(left)]
    return ("-C", f"{'link-args' if len(values) > 1 else name}={' '.join(values)}")


def _take_arguments(left: deque[str]) -> Iterator[str]:
    """Take the words of a linker's arguments that were separated because quotation marks are missing."""
    while left and (_OF_LINKER.fullmatch(left[0]) or not (left[0].startswith("-") or "=" in left[0])):
        yield left.popleft()


def _of_linker(word: str, left: deque[str]) -> tuple[str, ...]:
    argument = word if word.startswith("/") else f"-{word.lstrip('-')}"
    if argument in ("-e", "-T"):
        return ("-C", f"link-args={argument} {left.popleft() if left else '_start'}")
    return ("-C", f"link-arg={argument}")


def belongs_behind(each: Given) -> bool:
    """Return True for a word before ``--`` that is meant for the compiler or the linker."""
    word = each.words[0]
    if each.option is not None:
        return False
    if _OF_LINKER.fullmatch(word) or _CODEGEN_BARE.fullmatch(word) or word in ("-c", "--C", "-codegen"):
        return True
    if word.lstrip("-") in _LINK_ARGS:
        return True
    name = word.partition("=")[0] if word.startswith("--") else word[:2]
    option = BEHIND.find(word) or BEHIND.find(name)
    return word.startswith("-") and option is not None and not option.refused


def continues(first: Given, each: Given) -> bool:
    """Return True if ``each`` follows such an option and is part of its value."""
    word = first.words[0]
    option = BEHIND.find(word)
    if each.free:
        takes = word in _NEARLY_C or word.lstrip("-") in (*_LINK_ARGS, "e", "T") or (option and option.takes)
        return bool(takes) or word.lstrip("-").startswith(("C", "link-arg"))
    return each.option is None and each.words[0].startswith("-") and word in ("-C", "--codegen", *_NEARLY_C)


def without_start_files(words: Sequence[str]) -> tuple[str, ...]:
    """Return the flags without those that leave the C runtime out, which bare metal does not have."""
    kept: list[str] = []
    given = BEHIND.read(words)
    for each in given:
        value = each.value or ""
        if each.name in ("-C", "--codegen") and value.partition("=")[2] in START_FILES:
            continue
        kept += each.words
    return tuple(kept)
