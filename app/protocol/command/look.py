"""Commands that inspect files of the crate and artifacts, and programs that are started by their path."""

import re
from pathlib import PurePosixPath

from app.protocol import qemu
from app.protocol.command.look_table import LOOKS, ONE_FILE
from app.protocol.command.model import Command, RefusedError, cut
from app.protocol.command.options import nearest

_DRIVE = re.compile(r"[A-Za-z]:/")
_ALONE = ("--version", "--help")
_LIST_OPTIONS = re.compile(r"-[1aAFhlRrt]+|--all|--almost-all|--recursive|--color(=\w+)?")


def look(words: tuple[str, ...], crate: str) -> Command:
    """Return the look at a file, or raise ``RefusedError``."""
    program, asked = words[0], LOOKS[words[0]]
    if len(words) == 2 and words[1] in _ALONE and asked.takes(words[1]):
        return Command(words, "lookup", options=words[1:])
    files: list[str] = []
    following = iter(words[1:])
    for word in following:
        if pattern := asked.value_of(word):
            value = next(following, None)
            if value is None or not pattern.fullmatch(value):
                raise RefusedError(
                    f"`{program} {word}` needs a value of another kind{f' than `{cut(value)}`' if value else ''}."
                )
        elif not word.startswith("-"):
            files.append(inside(word, crate))
        elif not asked.takes(word) and not asked.holds(word):
            raise _unknown_option(words, word)
    if not files:
        example = " ".join(part for part in (program, asked.example, f"target/debug/{crate}") if part)
        raise RefusedError(f"Say which file `{program}` should look at, such as `{example}`.")
    if program in ONE_FILE and len(files) > 1:
        raise RefusedError(f"`{program}` looks at one file here; it would write to the second.", words[:-1])
    if crate in files:
        at = words.index(crate)
        raise RefusedError(
            f"What was built is below `target`, not `{crate}`.",
            (*words[:at], f"target/debug/{crate}", *words[at + 1 :]),
        )
    built = any(PurePosixPath(name).parts[0] == "target" for name in files)
    return Command(words, "lookup", options=words[1:], needs_artifact=built)


def _unknown_option(words: tuple[str, ...], word: str) -> RefusedError:
    program, at = words[0], words.index(word)
    sentence = f"`{program} {cut(word, 40)}` is not among the options that only look."
    meant = nearest(word, LOOKS[program].long) if word.startswith("--") else None
    if meant is None and not word.startswith("--") and f"-{word}" in LOOKS[program].long:
        meant = f"-{word}"
    if meant is None:
        return RefusedError(sentence)
    return RefusedError(sentence, (*words[:at], meant, *words[at + 1 :]), asks=True)


def started(words: tuple[str, ...], crate: str) -> Command:
    """Return a program that an earlier run built, started by its path as a shell would."""
    if len(words) > 1:
        raise RefusedError("A program is started by its path alone: arguments are not passed on.", words[:1])
    if words[0].endswith(".exe") and re.fullmatch(r"(\./)?target/(debug|release)/[^/]+\.exe", words[0]):
        raise RefusedError("Programs for Linux have no `.exe`.", (words[0].removesuffix(".exe"),))
    return Command(words, "program", options=(inside(words[0], crate),), needs_artifact=True)


def emulate(words: tuple[str, ...], crate: str) -> Command:
    """Return the emulation of a kernel, or raise ``RefusedError``."""
    try:
        kernel = qemu.kernel(words[0], words[1:])
    except ValueError as error:
        raise RefusedError(str(error)) from error
    built = kernel is not None and PurePosixPath(inside(kernel, crate)).parts[0] == "target"
    return Command(words, "emulate", options=words[1:], needs_artifact=built)


def answer(words: tuple[str, ...], crate: str) -> Command:
    """Return what is answered without a process: ``help``, ``pwd``, ``ls`` and ``cat``."""
    name, arguments = words[0], words[1:]
    if name == "help":
        if arguments:
            program = arguments if arguments[0] in ("cargo", "rustc") else ("cargo", *arguments)
            raise RefusedError("`help` stands alone.", (*program, "--help"))
        return Command(words, "answer", "help")
    if name == "pwd":
        return Command(words, "answer", "pwd")
    if name == "cat":
        return _cat(words, crate)
    named = (word for word in arguments if not word.startswith("-"))
    files = tuple("." if word in (".", "./") else str(PurePosixPath(inside(word, crate))) for word in named)
    wrong = next((word for word in arguments if word.startswith("-") and not _LIST_OPTIONS.fullmatch(word)), None)
    if wrong is not None:
        raise RefusedError(f"`ls` does not take `{cut(wrong, 40)}` here.", ("ls", *files))
    return Command(words, "answer", "ls", files, needs_artifact=any(_built(name) for name in files))


def _cat(words: tuple[str, ...], crate: str) -> Command:
    files = tuple(word for word in words[1:] if not re.fullmatch(r"-[nAbeEstTv]+", word))
    if not files:
        raise RefusedError("Say which file, such as `cat src/main.rs`.")
    if any(_built(inside(name, crate)) for name in files):
        raise RefusedError("What was built is not text: `hexdump -C` shows its bytes.", ("hexdump", "-C", *files))
    return Command(words, "answer", "cat", tuple(str(PurePosixPath(name)) for name in files))


def _built(path: str) -> bool:
    return PurePosixPath(path).parts[:1] == ("target",)


def inside(word: str, crate: str) -> str:
    """Return the path of a file in the crate; raises ``RefusedError`` for any other."""
    parts = PurePosixPath(word).parts
    if word.startswith(("/", "@", "~")) or ".." in parts or not parts or _DRIVE.match(word):
        raise RefusedError(f"`{cut(word)}` is outside of the crate; name a file in it, such as `target/debug/{crate}`.")
    return word
