"""Turn a line into a ``Command``, or refuse it with a sentence that names the right one."""

import re
from collections.abc import Sequence
from dataclasses import replace

from app.protocol import qemu
from app.protocol.command.cargo import cargo
from app.protocol.command.cargo_table import ALIASES, CARGO
from app.protocol.command.flags import corrected
from app.protocol.command.look import answer, emulate, inside, look, started
from app.protocol.command.look_table import LOOKS
from app.protocol.command.model import Command, CommandError, RefusedError, cut, shown
from app.protocol.command.options import nearest, words_of
from app.protocol.command.refusals import NO_SHELL, PROGRAMS, Answer
from app.protocol.command.rustc_table import ALONE, CARGO_BUILDS
from app.protocol.command.rustup import rustup
from app.protocol.command.typed import is_operator, read
from app.protocol.command.variables import variable

ANSWERS = ("help", "ls", "cat", "pwd")
_ALSO = {"dir": "ls", "?": "help", "--help": "help", "-h": "help"}
RUN = ("cargo", "rustc", "rustup", *ANSWERS, *LOOKS, *qemu.PROGRAMS)
"""The programs that run here."""
_KNOWN = frozenset((*RUN, *PROGRAMS, *_ALSO)) - {"?"}
_MOST_AMENDS = 4


def parse(line: str, crate: str = "NAME") -> Command:
    """Parse one line into a command; raise ``CommandError`` with a sentence that says what to type instead.

    ``crate`` is the crate's name, for the examples in such sentences.
    """
    try:
        typed = read(line, _KNOWN)
        return replace(_command(typed.words, crate), note=typed.note)
    except RefusedError as refused:
        sentence = refused.sentence
        if instead := _accepted_alternative(refused.instead, crate):
            offered = f"`{shown(instead)}`"
            sentence += f" Did you mean {offered}?" if refused.asks else f" Run {offered}."
        raise CommandError(sentence) from refused


def _accepted_alternative(words: Sequence[str], crate: str) -> tuple[str, ...]:
    """Return these words if they are accepted, else their own alternative, and so on; empty if none is accepted."""
    for _ in range(_MOST_AMENDS):
        if not words:
            break
        try:
            _command(tuple(words), crate)
        except RefusedError as refused:
            words = refused.instead
        else:
            return tuple(words)
    return ()


def _command(words: tuple[str, ...], crate: str) -> Command:  # noqa: C901, PLR0911 - a branch for each program
    if found := variable(words):
        raise found
    if any(is_operator(word) for word in words):
        raise _shell(words)
    if any("$(" in word or "`" in word for word in words):
        raise RefusedError(NO_SHELL)
    program = _ALSO.get(words[0], words[0])
    if program == "cargo":
        return cargo(words, crate)
    if program == "rustc":
        return _rustc(words)
    if program == "rustup":
        return rustup(words)
    if program in ANSWERS:
        return answer((program, *words[1:]), crate)
    if program.removeprefix("./").startswith("target/"):
        return started(words, crate)
    if program in LOOKS:
        return look(words, crate)
    if program in qemu.PROGRAMS:
        return emulate(words, crate)
    raise _unknown_program(words, crate)


def _shell(words: tuple[str, ...]) -> RefusedError:
    end = next(number for number, word in enumerate(words) if is_operator(word))
    first, operator, after = words[:end], words[end], words[end + 1 :]
    if first[:1] == ("cd",) and after and operator in ("&&", ";", "&"):
        return RefusedError(PROGRAMS["cd"].sentence, after)
    if first and first[-1].isdigit() and operator[0] in "<>":
        first = first[:-1]
    return RefusedError(NO_SHELL, first)


def _unknown_program(  # noqa: C901, PLR0911 - a branch for each mistake
    words: tuple[str, ...], crate: str
) -> RefusedError:
    program, rest = words[0], words[1:]
    if found := PROGRAMS.get(program):
        return _refusal_from_table(found, rest, crate)
    if "/" in program:
        return _refused_path(program, rest, crate)
    if belongs := _belongs_in_file(program):
        return RefusedError(belongs)
    if program in CARGO or program in ALIASES:
        return RefusedError(f"`{program}` is a command of cargo.", ("cargo", *words))
    if " " in program and not rest:
        return RefusedError("The quotation marks make one word of the command.", program.split())
    if program.removesuffix(".exe") == crate:
        return RefusedError("The program is started by its path.", (f"target/debug/{crate}",))
    if match := re.fullmatch(r"cargo-?(\w+)", program):
        return RefusedError(f"`{cut(program, 30)}` lacks a space.", ("cargo", match[1], *rest))
    if "cargo" in rest[:2]:
        return RefusedError("A command begins with its program.", rest[rest.index("cargo") :])
    if meant := nearest(program, RUN):
        return RefusedError(f"There is no `{cut(program, 40)}` here.", (meant, *rest), asks=True)
    if meant := nearest(program, CARGO):
        return RefusedError(f"There is no `{cut(program, 40)}` here.", ("cargo", meant, *rest), asks=True)
    return RefusedError(
        f"`{cut(program, 40)}` isn't available here: this is a command line for cargo, not a shell. "
        "`help` lists every command."
    )


def _belongs_in_file(program: str) -> str:
    """Return a sentence on a line of a file that was typed as a command; empty if it is not such a line."""
    if program.endswith("!") or program.startswith(("#!", "#[")) or program in ("fn", "use", "pub", "extern", "loop"):
        return "That is code, not a command: it belongs in `src/main.rs`."
    if re.fullmatch(r"\[[a-z.]+\]|panic|edition", program):
        return "That is a setting, not a command: it belongs in `Cargo.toml`."
    return ""


def _refusal_from_table(found: Answer, rest: tuple[str, ...], crate: str) -> RefusedError:
    match found.instead:
        case "rest":
            instead = tuple(rest)
        case "look":
            files = [word for word in rest if not word.startswith("-")]
            options = [word for word in rest if word.startswith("-")]
            by = tuple(found.by.split())
            instead = (*by, *(options if len(by) == 1 else ()), *(files or (f"target/debug/{crate}",)))
            if not _is_accepted(instead, crate):
                default = LOOKS[by[0]].example.split() if len(by) == 1 else []
                instead = (*by, *default, *(files or (f"target/debug/{crate}",)))
        case "cat":
            files = [word for word in rest if not word.startswith("-") and not word.isdigit()]
            instead = ("cat", *(files or ("src/main.rs",)))
        case command:
            instead = tuple(command.split())
    return RefusedError(found.sentence.format(crate=crate), instead)


def _is_accepted(words: tuple[str, ...], crate: str) -> bool:
    try:
        _command(words, crate)
    except RefusedError:
        return False
    return True


def _refused_path(program: str, rest: tuple[str, ...], crate: str) -> RefusedError:
    name = program.rpartition("/")[2].removesuffix(".exe")
    if name in RUN:
        return RefusedError("Programs are called by their name alone.", (name, *rest))
    at = program.find("target/")
    if at > 0:
        return RefusedError("A path begins in the crate's folder.", (program[at:], *rest))
    if name in (crate, "a.out"):
        return RefusedError("What was built is below `target`.", (f"target/debug/{crate}", *rest))
    inside(program, crate)
    return RefusedError(
        f"`{cut(program)}` cannot be started: only what cargo has built, such as `target/debug/{crate}`."
    )


def _rustc(words: tuple[str, ...]) -> Command:
    given = ALONE.read(words[1:])
    if not given:
        raise RefusedError(
            "Here cargo calls the compiler for you. Ask it about itself with `rustc --version --verbose`."
        )
    free = [each for each in given if each.free]
    toolchain = next((each.words[0] for each in free if each.words[0].startswith("+")), None)
    if toolchain:
        raise RefusedError(
            "The compiler is chosen beside the command, not with `+`.",
            tuple(word for word in words if word != toolchain),
        )
    unknown = any(each.option is None and not each.free for each in given)
    if not unknown and (free or any(each.option and each.option.refused == CARGO_BUILDS for each in given)):
        raise _cargo_instead(words[1:])
    for number, each in enumerate(given):
        if not each.fits and not each.free:
            raise ALONE.problem(each, ("rustc", *words_of(given[:number])), words_of(given[number + 1 :]))
    return Command(words, "rustc", options=words[1:])


def _cargo_instead(arguments: Sequence[str]) -> RefusedError:
    """Return the cargo command for a compilation by hand."""
    kept: list[str] = []
    target: tuple[str, ...] = ()
    following = iter(arguments)
    for word in following:
        name, equals, value = word.partition("=")
        if name in ("--edition", "--crate-type", "--crate-name", "-o", "--out-dir"):
            if not equals:
                next(following, None)
        elif name == "--target":
            target = ("--target", value if equals else next(following, ""))
        elif not word.endswith(".rs"):
            kept.append(word)
    flags = corrected(kept)
    instead = ("cargo", "rustc", *target, "--", *flags) if flags else ("cargo", "build", *target)
    return RefusedError("Here cargo calls the compiler for you.", instead)
