"""Accept or refuse the words after ``cargo``."""

import re
from collections import deque
from collections.abc import Sequence

from app.protocol.command import flags
from app.protocol.command.cargo_table import ALIASES, CARGO, FMT_REST, GLOBAL, NAME, TAKES_REST, TRIPLE
from app.protocol.command.model import Command, RefusedError, cut
from app.protocol.command.options import Given, Options, nearest, words_of
from app.protocol.command.refusals import CHOSEN, EXTENSIONS, SUBCOMMANDS
from app.protocol.command.rustc_table import BEHIND

_FILTER = re.compile(r"[A-Za-z0-9_:]+")
_BARE_METAL = re.compile(r"-none(-|$)")
_COMPILING = ("build", "check", "run", "rustc", "test", "clippy")
_LINT_NAMES = ("-A", "--allow", "-W", "--warn", "--force-warn", "-D", "--deny", "-F", "--forbid")


def cargo(words: tuple[str, ...], crate: str) -> Command:
    """Return the command, or raise ``RefusedError``."""
    at = _subcommand_index(words)
    before = GLOBAL.read(words[1:at])
    for number, each in enumerate(before):
        if not each.fits and each.option is None and CARGO["build"].nearest(f"-{each.words[0]}"):
            # An option without a subcommand: `cargo --release`.
            raise RefusedError("cargo needs a command before its options.", ("cargo", "build", *words[1:]), asks=True)
        if not each.fits:
            raise GLOBAL.problem(
                each, ("cargo", *words_of(before[:number])), (*words_of(before[number + 1 :]), *words[at:])
            )
    given = [each.name for each in before]
    if at == len(words):
        return _without_subcommand(words, before, given)
    typed = words[at]
    name = ALIASES.get(typed, typed)
    if typed.startswith("+"):
        raise RefusedError(f"{CHOSEN}, not with `{cut(typed, 30)}`.", (*words[:at], *words[at + 1 :]))
    options, rest = _split_at_dashes(words[at + 1 :])
    if name == "version":
        return Command(words, "cargo", "--version", (*words[1:at], *options))
    if name == "help":
        return _help(words, options)
    if name not in CARGO:
        raise _unknown_subcommand(words, at, crate)
    leading = words[1:at]
    if "--help" in options or "-h" in options:
        return Command(words, "cargo", name, ("--help",))
    return _validate(words, name, (*leading, *options), rest)


def _without_subcommand(words: tuple[str, ...], before: Sequence[Given], given: Sequence[str]) -> Command:
    letters = "".join(each[1:] for each in given if not each.startswith("--"))
    if "--version" in given or "V" in letters:
        verbose = "--verbose" in given or "v" in letters
        return Command(words, "cargo", "--version", ("--verbose",) if verbose else ())
    if "--help" in given or "h" in letters:
        return Command(words, "cargo", "--help")
    if "--list" in given:
        return Command(words, "cargo", "--list")
    if "--explain" in given:
        return Command(words, "cargo", "--explain", (next(each.value or "" for each in before if each.value),))
    raise RefusedError("Say what cargo should do, such as `cargo build`; `help` lists what can be run here.")


def _subcommand_index(words: Sequence[str]) -> int:
    """Return the index of the subcommand, or the number of words if there is none."""
    at = 1
    while at < len(words) and words[at].startswith("-"):
        option = GLOBAL.find(words[at])
        at += 2 if option and option.takes else 1
    return min(at, len(words))


def _help(words: tuple[str, ...], options: tuple[str, ...]) -> Command:
    if not options:
        return Command(words, "cargo", "--help")
    name = ALIASES.get(options[0], options[0])
    if name not in CARGO:
        raise RefusedError(
            f"`cargo {cut(name, 30)}` cannot be run here, so there is no help for it; `help` lists what can be."
        )
    return Command(words, "cargo", name, ("--help",))


def _unknown_subcommand(words: tuple[str, ...], at: int, crate: str) -> RefusedError:
    name, after = words[at], words[at + 1 :]
    if name in EXTENSIONS:
        return _extension(EXTENSIONS[name], after, crate)
    if answer := SUBCOMMANDS.get(name):
        return RefusedError(answer.sentence.format(crate=crate), tuple(answer.instead.split()))
    if meant := nearest(name, (*CARGO, "help", "version")):
        return RefusedError(f"cargo has no command `{cut(name, 30)}`.", (*words[:at], meant, *after), asks=True)
    return RefusedError(f"`cargo {cut(name, 30)}` cannot be run here; `help` lists what can be.")


def _extension(program: str, after: Sequence[str], crate: str) -> RefusedError:
    """Name the program that does the same: ``cargo objdump -- -d`` is ``objdump -d target/…``."""
    options, rest = _split_at_dashes(tuple(after))
    given = CARGO["build"].read(options)
    target = next((each.value for each in given if each.name == "--target" and each.value), None)
    profile = "release" if any(each.name in ("--release", "-r") for each in given) else "debug"
    path = "/".join(part for part in ("target", target, profile, crate) if part)
    look = rest or {"objdump": ("-d",), "readelf": ("-h",)}.get(program, ())
    sentence = f"`cargo {program}` is an extension of cargo; here `{program}` itself looks at what was built."
    return RefusedError(sentence, (program, *look, path))


def _validate(words: tuple[str, ...], name: str, before: tuple[str, ...], rest: tuple[str, ...]) -> Command:
    given = CARGO[name].read(before)
    if found := _wrong_side_of_dashes(name, given, rest):
        raise found
    if rest and name not in TAKES_REST:
        raise RefusedError(f"`cargo {name}` takes nothing after `--`.", ("cargo", name, *before))
    free = _free_words(CARGO[name], given, ("cargo", name), ("--", *rest) if rest else ())
    if name == "new":
        if len(free) != 1 or not re.fullmatch(NAME, free[0]):
            raise RefusedError("`cargo new` takes one name for the crate, such as `cargo new my_kernel`.")
        return Command(words, "new", "new", before)
    if free and not (name == "test" and all(_FILTER.fullmatch(word) for word in free)):
        raise _unexpected_word(name, before, free[0], rest)
    if name == "rustc" and (found := flags.problem(rest)):
        raise _corrected_refusal(found.sentence, given, found.instead, asks=found.asks)
    if name == "fmt":
        _free_words(FMT_REST, FMT_REST.read(rest), ("cargo", "fmt", *before, "--"))
    if name == "clippy":
        _check_lints(before, rest)
    return Command(words, "cargo", name, before, rest)


def _wrong_side_of_dashes(name: str, given: Sequence[Given], rest: tuple[str, ...]) -> RefusedError | None:
    """Return the answer to options on the wrong side of ``--``, or of the wrong subcommand."""
    if name not in _COMPILING:
        return None
    if any(flags.belongs_behind(each) for each in given):
        return _misplaced(name, given, rest)
    if name in ("build", "check", "rustc") and (found := _cargo_options_after_dashes(name, given, rest)):
        return found
    # The compiler's flags may also stand after the ``--`` of a subcommand that takes none.
    if name in ("build", "check", "run") and rest and flags.belongs_behind(Given(rest[:1])):
        return _misplaced(name, given, rest)
    return None


def _cargo_options_after_dashes(name: str, given: Sequence[Given], rest: tuple[str, ...]) -> RefusedError | None:
    """Return the answer to cargo's own options after ``--``, and to one that ``--`` was torn from."""
    if rest and CARGO[name].find(f"--{rest[0]}"):
        rest = (f"--{rest[0]}", *rest[1:])
    after = CARGO[name].read(rest)
    own = [each for each in after if each.fits and ((known := BEHIND.find(each.name)) is None or known.refused)]
    if not own:
        return None
    others = words_of([each for each in after if each not in own])
    return RefusedError(
        f"`{own[0].name}` is an option of cargo, and belongs before any `--` that stands alone.",
        ("cargo", name, *words_of(given), *words_of(own), *(("--", *others) if others else ())),
    )


def _check_lints(before: tuple[str, ...], rest: tuple[str, ...]) -> None:
    given = BEHIND.read(rest)
    for each in given:
        if each.name not in _LINT_NAMES or not each.fits:
            raise RefusedError(
                "After `cargo clippy --` come lints, such as `-W clippy::pedantic`; "
                f"`{cut(each.words[0], 40)}` is not for one.",
                ("cargo", "clippy", *before),
            )


def _free_words(
    options: Options, given: Sequence[Given], above: tuple[str, ...], below: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return the words that are not options. Raises ``RefusedError`` for an option that is not accepted."""
    for number, each in enumerate(given):
        if not each.free and not each.fits:
            raise options.problem(each, (*above, *words_of(given[:number])), (*words_of(given[number + 1 :]), *below))
    return tuple(each.words[0] for each in given if each.free)


def _unexpected_word(name: str, before: tuple[str, ...], word: str, rest: tuple[str, ...]) -> RefusedError:
    others = tuple(each for each in before if each != word)
    behind = ("--", *rest) if rest else ()
    option = CARGO[name].find(f"--{word.lower()}")
    if option and not option.refused:
        instead = (f"--{word.lower()}" if each == word else each for each in before)
        return RefusedError(f"`{word}` needs two hyphens.", ("cargo", name, *instead, *behind))
    if re.fullmatch(TRIPLE, word) and CARGO[name].find("--target"):
        return RefusedError(
            f"`{word}` needs `--target` before it.", ("cargo", name, *others, "--target", word, *behind)
        )
    if name == "run":
        return RefusedError("What is for the program goes after `--`.", ("cargo", name, *others, "--", word, *rest))
    return RefusedError(
        f"`cargo {name}` takes only options, and `{cut(word, 40)}` is not an option.", ("cargo", name, *others, *behind)
    )


def _misplaced(name: str, given: Sequence[Given], rest: tuple[str, ...]) -> RefusedError:
    """Return the answer to flags for the compiler that are not after ``cargo rustc --``."""
    own: list[Given] = []
    moved: list[str] = []
    left = deque(given)
    while left:
        each = left.popleft()
        if flags.belongs_behind(each):
            moved += each.words
            while left and flags.continues(each, left[0]):
                moved += left.popleft().words
        else:
            own.append(each)
    sentence = (
        "Flags for the compiler go after `--`."
        if name == "rustc"
        else "Only `cargo rustc` takes flags for the compiler, after `--`."
    )
    placed = flags.corrected((*moved, *(rest if name in ("rustc", "build", "check", "run") else ())))
    return _corrected_refusal(sentence, own, placed)


def _corrected_refusal(
    sentence: str, own: Sequence[Given], behind: tuple[str, ...], *, asks: bool = False
) -> RefusedError:
    """Return the answer with the right command; on bare metal that leaves the C runtime's flags out."""
    target = next((each.value for each in own if each.name == "--target" and each.value), "")
    if _BARE_METAL.search(target) and flags.without_start_files(behind) != behind:
        sentence += f" And `{target}` has no operating system and no C runtime, so `-nostartfiles` is not needed."
        behind = flags.without_start_files(behind)
    if not behind:
        return RefusedError(sentence, ("cargo", "build", *words_of(own)), asks=asks)
    kept = [each for each in own if each.free or (each.option and CARGO["rustc"].find(each.name))]
    return RefusedError(sentence, ("cargo", "rustc", *words_of(kept), "--", *behind), asks=asks)


def _split_at_dashes(arguments: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if "--" not in arguments:
        return arguments, ()
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]
