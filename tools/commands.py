#!/usr/bin/env python3
"""Write the tables of docs/commands.md from those of app/protocol/command: `.venv/bin/python tools/commands.py`."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/commands.md"
MARK = "<!-- What follows is written by tools/commands.py. -->"
sys.path.insert(0, str(ROOT))

from app.protocol.command.cargo_table import CARGO, GLOBAL  # noqa: E402 - the folder is known only now
from app.protocol.command.options import Option  # noqa: E402 - the folder is known only now
from app.protocol.command.overview import LINES  # noqa: E402 - the folder is known only now
from app.protocol.command.refusals import PROGRAMS, SUBCOMMANDS, Answer  # noqa: E402 - the folder is known only now
from app.protocol.command.rustc_table import ALONE, BEHIND, CODEGEN  # noqa: E402 - the folder is known only now


def tables() -> str:
    """Return the text below the mark."""
    return "\n".join(line.rstrip() for line in _lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from ("", "## What runs", "", "| command | |", "|---|---|")
    yield from (f"| `{command.format(crate='NAME')}` | {what} |" for command, what in LINES)
    yield from ("", "## Options of cargo", "", "`cargo` alone stands for options before the subcommand.", "")
    yield from ("| option | of | |", "|---|---|---|")
    yield from _cargo_rows()
    yield from ("", "## Options of rustc after `cargo rustc --`", "", "| option | |", "|---|---|")
    yield from (f"| {_names(option)} | {_decision(option)} |" for option in BEHIND.all)
    yield from ("", "## Options of `-C` after `cargo rustc --`", "", "| option | |", "|---|---|")
    yield from (f"| `{name}` | {_decision(option)} |" for name, option in sorted(CODEGEN.items()))
    yield from ("", "## Options of rustc alone", "", "| option | |", "|---|---|")
    yield from (f"| {_names(option)} | {_decision(option)} |" for option in ALONE.all)
    yield from ("", "## Subcommands of cargo that do not run", "", "| cargo | what is said |", "|---|---|")
    yield from _answers(SUBCOMMANDS)
    yield from ("", "## Programs that do not run", "", "| program | what is said |", "|---|---|")
    yield from _answers(PROGRAMS)


def _cargo_rows() -> Iterator[str]:
    of: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for name, options in (("cargo", GLOBAL), *((name, CARGO[name]) for name in CARGO)):
        for option in options.all:
            of.setdefault((option.names, _decision(option)), []).append(name)
    for (names, decision), subcommands in sorted(of.items(), key=lambda item: item[0][0][-1].lstrip("-").lower()):
        yield f"| {', '.join(f'`{name}`' for name in names)} | {', '.join(subcommands)} | {decision} |"


def _answers(answers: Mapping[str, Answer]) -> Iterator[str]:
    said: dict[str, list[str]] = {}
    for name, found in answers.items():
        said.setdefault(found.sentence.format(crate="NAME"), []).append(name)
    yield from (f"| {', '.join(f'`{name}`' for name in names)} | {_cell(text)} |" for text, names in said.items())


def _names(option: Option) -> str:
    return ", ".join(f"`{name}`" for name in option.names)


def _decision(option: Option) -> str:
    return f"no: {_cell(option.refused)}" if option.refused else "yes"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text(encoding="utf-8").partition(MARK)[0] + MARK + "\n" + tables(), encoding="utf-8")
