"""Accept or refuse the words after ``rustup``. Only questions about targets are answered."""

import re

from app.protocol.command.cargo_table import TRIPLE
from app.protocol.command.model import Command, RefusedError, cut
from app.protocol.command.options import nearest
from app.protocol.command.refusals import CHOSEN, RUSTUP

_ANSWERED = ("target", "list")
_ADD = ("add", "install")


def rustup(words: tuple[str, ...]) -> Command:  # noqa: C901 - a branch for each command
    """Return the command, or raise ``RefusedError``."""
    arguments = words[1:]
    if refused := _without_toolchain(words):
        raise refused
    match arguments:
        case ("target", "list") | ("target", "list", "--installed"):
            return Command(words, "rustup", "list", arguments[2:])
        case ("target", verb, *triples) if (
            verb in _ADD and triples and all(re.fullmatch(TRIPLE, triple) for triple in triples)
        ):
            return Command(words, "rustup", "add", tuple(triples))
        case ("target", verb, *_) if verb in _ADD:
            raise RefusedError("Name a target, such as `rustup target add x86_64-unknown-none`.")
        case ("target", "remove" | "uninstall", *_):
            raise RefusedError("Targets stay; `rustup target list --installed` shows those that are ready.")
        case ("add" | "install", "target", *triples):
            raise RefusedError("The verb comes after `target`.", ("rustup", "target", "add", *triples))
        case ("run", _, *rest) if rest:
            raise RefusedError(RUSTUP["run"], rest)
        case (name, *_) if name in RUSTUP:
            raise RefusedError(RUSTUP[name])
        case (name, *rest) if name.startswith("+"):
            raise RefusedError(f"{CHOSEN}, not with `{cut(name, 30)}`.", ("rustup", *rest))
        case (name, *rest) if (meant := nearest(name, ("target", *RUSTUP))) and meant != name:
            raise RefusedError(f"rustup has no command `{cut(name, 30)}`.", ("rustup", meant, *rest), asks=True)
        case ("target", verb, *rest) if meant := nearest(verb, ("list", "add")):
            raise RefusedError(
                f"`rustup target` has no command `{cut(verb, 30)}`.", ("rustup", "target", meant, *rest), asks=True
            )
    raise RefusedError("Of rustup, `rustup target list` and `rustup target add TRIPLE` are answered here.")


def _without_toolchain(words: tuple[str, ...]) -> RefusedError | None:
    for number, word in enumerate(words):
        name, equals, _ = word.partition("=")
        if name == "--toolchain":
            rest = words[number + (1 if equals else 2) :]
            return RefusedError(f"Leave `--toolchain` out: {CHOSEN[0].lower()}{CHOSEN[1:]}.", (*words[:number], *rest))
    return None
