"""Refuse variables in front of a command, which nothing here reads, and name the command that they mean."""

import re
import shlex
from collections.abc import Sequence

from app.protocol.command.flags import corrected
from app.protocol.command.model import RefusedError, cut
from app.protocol.command.refusals import VARIABLES
from app.protocol.command.typed import is_operator

_ASSIGNED = re.compile(r"(?:\$env:)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL | re.IGNORECASE)
_SETTERS = ("set", "export", "setx", "env", "setenv", "declare", "local", "let", "set-item")
_FLAGS = re.compile(r"(CARGO_)?(BUILD_|ENCODED_|TARGET_[A-Z0-9_]+_)?RUSTFLAGS")
_PROFILE = re.compile(r"CARGO_PROFILE_(DEV|RELEASE)_([A-Z_]+)")


def variable(words: Sequence[str]) -> RefusedError | None:
    """Return the answer to a line that sets a variable; None if it sets none."""
    rest = list(words)
    set_by = rest[0].lower() in _SETTERS
    if set_by:
        rest = rest[1:]
    values: dict[str, str] = {}
    if set_by and rest and rest[0] in ("-x", "-gx", "-Ux", "-g") and len(rest) > 2:
        rest = [f"{rest[1]}={rest[2]}", *rest[3:]]
    if set_by and words[0].lower() in ("setx", "setenv") and len(rest) > 1 and "=" not in rest[0]:
        rest = [f"{rest[0]}={rest[1]}", *rest[2:]]
    if len(rest) > 1 and rest[1] == "=" and rest[0].lower().startswith("$env:"):
        rest = [f"{rest[0]}={rest[2] if len(rest) > 2 else ''}", *rest[3:]]
    while rest and (match := _ASSIGNED.fullmatch(rest[0])):
        values[match[1].upper()] = match[2]
        rest = rest[1:]
    if not values and not set_by:
        return None
    behind = _command_behind(rest)
    if set_by and values and rest[:1] not in (["cargo"], ["rustc"]):
        # `set NAME=a b` of Windows takes the rest of the line, up to the next command.
        last = list(values)[-1]
        values[last] = " ".join([values[last], *_up_to_operator(rest)]).strip()
    return _refusal(values, behind)


def _command_behind(rest: Sequence[str]) -> tuple[str, ...]:
    """Return the command behind the variables, after an operator or at once."""
    words = list(rest)
    for number, word in enumerate(words):
        if is_operator(word):
            return _command_behind(words[number + 1 :])
        if word in ("cargo", "rustc"):
            return tuple(_up_to_operator(words[number:]))
    return ()


def _up_to_operator(words: Sequence[str]) -> list[str]:
    end = next((number for number, word in enumerate(words) if is_operator(word)), len(words))
    return list(words[:end])


def _refusal(values: dict[str, str], behind: tuple[str, ...]) -> RefusedError:
    for name, value in values.items():
        if _FLAGS.fullmatch(name):
            return RefusedError(
                "No variables are read here: flags for the compiler go after `cargo rustc --`, or into "
                "`.cargo/config.toml`.",
                _with_flags(behind, value),
            )
        if name == "CARGO_BUILD_TARGET":
            return RefusedError(VARIABLES[name], (*behind, "--target", value) if behind else ())
        if name in VARIABLES:
            return RefusedError(VARIABLES[name], behind)
        if match := _PROFILE.fullmatch(name):
            key, profile = match[2].lower().replace("_", "-"), match[1].lower()
            return RefusedError(
                f'No variables are read here: `{key} = "{value}"` belongs in `Cargo.toml`, below `[profile.{profile}]`.'
            )
    named = next(iter(values), "")
    return RefusedError(f"Variables{f' such as `{cut(named, 40)}`' if named else ''} are not read here.", behind)


def _with_flags(behind: tuple[str, ...], value: str) -> tuple[str, ...]:
    try:
        flags = corrected(shlex.split(value.replace("\x1f", " ")))
    except ValueError:
        flags = ()
    if not flags:
        return ()
    options = behind[2:] if behind[:1] == ("cargo",) else ()
    if "--" in options:
        at = options.index("--")
        own = options[at + 1 :] if behind[1] == "rustc" else ()
        return ("cargo", "rustc", *options[:at], "--", *own, *flags)
    return ("cargo", "rustc", *options, "--", *flags)
