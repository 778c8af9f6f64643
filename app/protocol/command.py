"""What a learner typed becomes a ``Command``, or one sentence that says what is possible.

The line is split as a shell would split it, and never given to a shell. What is understood is an
allow-list: cargo's and rustc's flags that make sense inside one crate, and look-ups at what was built.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from app.protocol import qemu

CommandKind = Literal["cargo", "new", "rustc", "rustup", "lookup", "program", "emulate"]

LONGEST = 1000
_ALIASES = {"b": "build", "c": "check", "r": "run", "t": "test"}
_FILTER = re.compile(r"[A-Za-z0-9_:]+")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class CommandError(ValueError):
    """A line that is not understood; the message is one sentence for the learner."""


@dataclass(frozen=True)
class Command:
    """A command that may be run.

    ``argv`` is what was typed, in words. ``kind`` says who answers it. ``subcommand`` is cargo's or rustup's
    (aliases in their long form), ``options`` the words before ``--``, ``rest`` those after it.
    ``needs_artifact``: only useful with something built before.
    """

    argv: tuple[str, ...]
    kind: CommandKind
    subcommand: str = ""
    options: tuple[str, ...] = ()
    rest: tuple[str, ...] = field(default=())
    needs_artifact: bool = False

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
        """Whether flags for the compiler or the linker were typed, rather than configured."""
        return self.subcommand == "rustc" and bool(self.rest)


@dataclass(frozen=True)
class _Options:
    """The options of one program: those that stand alone and those that take a value (and which)."""

    flags: frozenset[str]
    values: Mapping[str, re.Pattern[str]]


def _options(flags: str, **values: str) -> _Options:
    named = {("-" if len(name) == 1 else "--") + name.replace("_", "-"): p for name, p in values.items()}
    return _Options(frozenset(flags.split()), {name: re.compile(p) for name, p in named.items()})


_WORD = r"[A-Za-z0-9_][A-Za-z0-9_.:/-]*"
_TRIPLE = r"[a-z0-9_]+(-[a-z0-9_.]+){1,4}"
_FEATURES = r"[A-Za-z0-9_,/ -]*"

_CARGO_BUILD = _options(
    "-r --release -v -vv --verbose -q --quiet --bins --lib --tests --all-targets --offline --locked --frozen "
    "--keep-going --workspace --all --all-features --no-default-features --ignore-rust-version",
    target=_TRIPLE,
    profile=r"[A-Za-z0-9_-]+",
    bin=_NAME.pattern,
    test=_NAME.pattern,
    p=_NAME.pattern,
    package=_NAME.pattern,
    j=r"[0-9]{1,3}",
    jobs=r"[0-9]{1,3}",
    F=_FEATURES,
    features=_FEATURES,
)
_CARGO: Mapping[str, _Options] = {
    "build": _CARGO_BUILD,
    "check": _CARGO_BUILD,
    "run": _CARGO_BUILD,
    "rustc": _CARGO_BUILD,
    "test": _Options(_CARGO_BUILD.flags | {"--no-run", "--no-fail-fast"}, _CARGO_BUILD.values),
    "clean": _options("-r --release -v --verbose -q --quiet", target=_TRIPLE, p=_NAME.pattern),
    "new": _options(
        "--bin --lib -v --verbose -q --quiet",
        edition=r"[0-9]{4}",
        name=_NAME.pattern,
        vcs=r"none|git",
    ),
}
_TAKES_REST = {"run", "test", "rustc"}

_CODEGEN = re.compile(
    r"(link-args?|panic|opt-level|debuginfo|target-cpu|target-feature|relocation-model|code-model|lto|strip"
    r"|codegen-units|force-frame-pointers|overflow-checks|debug-assertions|prefer-dynamic|no-redzone"
    r"|default-linker-libraries|link-self-contained|linker-flavor|force-unwind-tables|symbol-mangling-version)"
    r"(=.*)?|linker=(rust-lld|lld|ld|ld\.lld|lld-link|cc|gcc|clang)",
    re.DOTALL,
)
_LINT = re.compile(r"[a-z0-9_:-]+")
_RUSTC_REST = _Options(
    frozenset({"-g", "-O", "-v", "--verbose"}),
    {
        "-C": _CODEGEN,
        "--codegen": _CODEGEN,
        "-A": _LINT,
        "-W": _LINT,
        "-D": _LINT,
        "-F": _LINT,
        "--cfg": re.compile(r'[A-Za-z_][A-Za-z0-9_]*(="[^"]*")?'),
        "--print": re.compile(r"[a-z-]+"),
        "--emit": re.compile(r"[a-z-]+(,[a-z-]+)*"),
        "-l": re.compile(r"[A-Za-z0-9_=:+,-]+"),
    },
)
_RUSTC_PRINT = re.compile(r"target-list|cfg|sysroot|target-libdir|host-tuple|target-cpus|target-features|crate-name")
_RUSTC = _Options(
    frozenset({"-V", "-vV", "-Vv", "--version", "-v", "--verbose"}),
    {"--print": _RUSTC_PRINT, "--target": re.compile(_TRIPLE), "--explain": re.compile(r"E?[0-9]{1,4}")},
)
_LETTERS: Mapping[str, re.Pattern[str]] = {
    "readelf": re.compile(r"-[aehlSsnrdVAgtW]+"),
    "objdump": re.compile(r"-[afhpxdDSstTrRlC]+"),
    "nm": re.compile(r"-[aCDgnpPrSuv]+"),
    "size": re.compile(r"-[ABdoxt]+"),
    "file": re.compile(r"-[bikLsz]+"),
}
_LONG: Mapping[str, frozenset[str]] = {
    "readelf": frozenset(
        "--all --file-header --program-headers --segments --section-headers --sections --headers --symbols --syms "
        "--notes --relocs --dynamic --section-groups --section-details --arch-specific --wide --use-dynamic "
        "--dyn-syms --version-info --demangle".split()
    ),
    "objdump": frozenset(
        "--archive-headers --file-headers --section-headers --headers --private-headers --all-headers --disassemble "
        "--disassemble-all --source --full-contents --syms --dynamic-syms --reloc --dynamic-reloc --line-numbers "
        "--demangle --no-show-raw-insn --no-addresses".split()
    ),
    "nm": frozenset(
        "--defined-only --undefined-only --demangle --dynamic --extern-only --numeric-sort --no-sort "
        "--print-size --size-sort --reverse-sort --debug-syms".split()
    ),
    "size": frozenset("--format=berkeley --format=sysv --format=gnu --radix=8 --radix=10 --radix=16 --totals".split()),
    "file": frozenset("--brief --mime --mime-type --mime-encoding --keep-going --dereference".split()),
}
_VALUED_LETTERS: Mapping[str, Mapping[str, re.Pattern[str]]] = {
    "readelf": {"-x": re.compile(_WORD + r"|\..*"), "-p": re.compile(_WORD + r"|\..*")},
    "objdump": {"-j": re.compile(r"[A-Za-z0-9_.]+"), "-M": re.compile(r"[a-z0-9,-]+")},
}
LOOKUPS = tuple(_LETTERS)


def parse(line: str, crate: str = "NAME") -> Command:
    """Parse one line into a command; raise ``CommandError`` with a sentence that says what is possible.

    ``crate`` is the crate's name, for the examples in such sentences.
    """
    words = _split(line, crate)
    program, arguments = words[0], words[1:]
    if program == "cargo":
        return _cargo(words, arguments, crate)
    if program == "rustc":
        if _check_options("rustc", arguments, _RUSTC) or not arguments:
            raise CommandError(
                "Say what rustc is to tell, such as rustc --version --verbose; crates are built by cargo."
            )
        return Command(words, "rustc", options=arguments)
    if program == "rustup":
        return _rustup(words, arguments)
    if program.removeprefix("./").startswith("target/"):
        return _program(words, crate)
    if program in LOOKUPS:
        return _lookup(words, arguments, crate)
    if program in qemu.PROGRAMS:
        return _emulate(words, arguments, crate)
    shown = program if len(program) <= 40 else program[:39] + "…"
    raise CommandError(f"{shown!r} cannot be run here; what can is {_possible(crate)}.")


def _possible(crate: str) -> str:
    return (
        "cargo new, build, check, run, test, rustc and clean, rustc --version, rustup target, what was built, such as "
        f"target/debug/{crate}, and " + ", ".join((*LOOKUPS, *qemu.PROGRAMS))
    )


def _split(line: str, crate: str) -> tuple[str, ...]:
    if len(line) > LONGEST:
        raise CommandError(f"A command is at most {LONGEST} characters long.")
    if any(ord(character) < 32 and character != "\t" for character in line) or "\x7f" in line:
        raise CommandError("A command is one line without control characters.")
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
        lexer.whitespace_split = True
        lexer.commenters = ""
        words = tuple(lexer)
    except ValueError as error:
        raise CommandError("A quotation mark in the command is not closed.") from error
    if not words:
        raise CommandError(f"Type a command; possible are {_possible(crate)}.")
    if any(word and set(word) <= set("|&;<>()") for word in words) or re.search(r"\$\(|`", line):
        raise CommandError(
            "No shell reads this line: one command at a time, without pipes, redirections or substitutions."
        )
    return words


def _cargo(words: tuple[str, ...], arguments: tuple[str, ...], crate: str) -> Command:
    if arguments in (("--version",), ("-V",)):
        return Command(words, "cargo", "--version")
    if not arguments:
        raise CommandError("Say what cargo is to do: new, build, check, run, test, rustc or clean.")
    name = _ALIASES.get(arguments[0], arguments[0])
    if name.startswith("+"):
        raise CommandError("The compiler is chosen beside the command, not with +name.")
    if name not in _CARGO:
        raise CommandError(
            f"cargo {name[:40]} is not offered here; cargo new, build, check, run, test, rustc and clean are."
        )
    before, rest = _cut(arguments[1:])
    if rest and name not in _TAKES_REST:
        raise CommandError(f"cargo {name} takes nothing after --.")
    free = _check_options(f"cargo {name}", before, _CARGO[name])
    if name == "new":
        return _new(words, before, free, crate)
    if free and not (name == "test" and all(_FILTER.fullmatch(word) for word in free)):
        raise CommandError(f"cargo {name} takes options only; {free[0][:40]!r} is none.")
    if name == "rustc":
        left = _check_options("rustc behind cargo rustc --", rest, _RUSTC_REST)
        if left:
            raise CommandError(f"After cargo rustc -- come compiler options only; {left[0][:40]!r} is none.")
    return Command(words, "cargo", name, before, rest)


def _new(words: tuple[str, ...], before: tuple[str, ...], free: Sequence[str], crate: str) -> Command:
    if len(free) != 1 or not _NAME.fullmatch(free[0]):
        raise CommandError(f"cargo new takes one name for the crate, such as cargo new {crate}.")
    return Command(words, "new", "new", before)


def _rustup(words: tuple[str, ...], arguments: tuple[str, ...]) -> Command:
    match arguments:
        case ("target", "list") | ("target", "list", "--installed"):
            return Command(words, "rustup", "list", arguments[2:])
        case ("target", "add", *triples) if triples and all(re.fullmatch(_TRIPLE, triple) for triple in triples):
            return Command(words, "rustup", "add", tuple(triples))
    raise CommandError("Of rustup, only rustup target list and rustup target add TRIPLE are answered here.")


def _lookup(words: tuple[str, ...], arguments: tuple[str, ...], crate: str) -> Command:
    program = words[0]
    files: list[str] = []
    pending: re.Pattern[str] | None = None
    for word in arguments:
        if pending:
            if not pending.fullmatch(word):
                raise CommandError(f"{word[:40]!r} is no value that {program} takes here.")
            pending = None
        elif word in (valued := _VALUED_LETTERS.get(program, {})):
            pending = valued[word]
        elif word.startswith("-"):
            if word not in _LONG[program] and not _LETTERS[program].fullmatch(word):
                raise CommandError(f"{program} {word[:40]} is not offered here; it takes the options that only look.")
        else:
            files.append(_inside(word, crate))
    if pending or not files:
        raise CommandError(f"Say which file {program} is to look at, such as {program} target/debug/{crate}.")
    built = any(PurePosixPath(name).parts[0] == "target" for name in files)
    return Command(words, "lookup", options=arguments, needs_artifact=built)


def _program(words: tuple[str, ...], crate: str) -> Command:
    """What an earlier run built, started by its path as a shell would."""
    if len(words) > 1:
        raise CommandError("Give the program's path alone: arguments are not handed on.")
    return Command(words, "program", options=(_inside(words[0], crate),), needs_artifact=True)


def _emulate(words: tuple[str, ...], arguments: tuple[str, ...], crate: str) -> Command:
    try:
        kernel = qemu.kernel(words[0], arguments)
    except ValueError as error:
        raise CommandError(str(error)) from error
    built = kernel is not None and PurePosixPath(_inside(kernel, crate)).parts[0] == "target"
    return Command(words, "emulate", options=arguments, needs_artifact=built)


def _inside(word: str, crate: str) -> str:
    parts = PurePosixPath(word).parts
    if word.startswith(("/", "@", "~")) or ".." in parts or not parts:
        raise CommandError(f"{word[:60]!r} is outside of the crate; name a file in it, such as target/debug/{crate}.")
    return word


def _cut(arguments: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if "--" not in arguments:
        return arguments, ()
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _check_options(who: str, arguments: Sequence[str], options: _Options) -> list[str]:
    """The words that are no options; raises ``CommandError`` for an option that is not in the list."""
    free: list[str] = []
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            free.append(word)
        elif word not in options.flags:
            name, value = _name_and_value(word, words, options)
            if name not in options.values:
                raise CommandError(f"{who} {name[:40]} is not offered here; {_offered(options)}.")
            if value is None:
                raise CommandError(f"{who} {name} needs a value.")
            if not options.values[name].fullmatch(value):
                raise CommandError(f"{value[:60]!r} is no value that {who} {name} takes here.")
    return free


def _name_and_value(word: str, following: Iterator[str], options: _Options) -> tuple[str, str | None]:
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        if equals:
            return name, value
    else:
        name = word[:2]
        if len(word) > 2:
            return (name, word[2:]) if name in options.values else (word, None)
    return name, next(following, None) if name in options.values else None


def _offered(options: _Options) -> str:
    long = sorted(name for name in (*options.flags, *options.values) if name.startswith("--") or name == "-C")
    return "it takes " + ", ".join(long)
