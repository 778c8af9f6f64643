"""Every option that the compilers on this machine list is accepted, or refused with a reason, and documented."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.protocol.command.cargo_table import ALIASES, CARGO, GLOBAL
from app.protocol.command.refusals import SUBCOMMANDS
from app.protocol.command.rustc_table import ALONE, BEHIND, CODEGEN
from app.toolchain import Toolchain, build_env, components
from app.toolchain.process import capture

ROOT = Path(__file__).parent.parent
_LISTED = re.compile(r"^ {1,12}(-\w|--[a-z][\w-]*)(?:(?: <[^>]+>|\.\.\.)?, (--[a-z][\w-]*))?")
_COMPONENT = {"clippy": "clippy", "fmt": "rustfmt"}
_BUILT_IN = {"help", "version"}


async def asked(toolchain: Toolchain, folder: Path, *argv: str) -> str:
    program = toolchain.cargo if argv[0] == "cargo" else toolchain.compiler
    env = {**build_env(toolchain, folder), "CARGO_TERM_COLOR": "never"}
    found = await capture([program, *argv[1:]], env=env, cwd=folder)
    assert found.code == 0, found.output
    return found.output


def options(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if match := _LISTED.match(line):
            yield from (name for name in match.groups() if name)


@pytest.mark.anyio
async def test_every_option_of_cargo_is_decided(toolchains: tuple[Toolchain, ...], tmp_path: Path) -> None:
    undecided = set()
    for toolchain in toolchains:
        for name, table in (("", GLOBAL), *CARGO.items()):
            component = _COMPONENT.get(name)
            if component and not components.has(toolchain, component):
                continue
            listed = list(options(await asked(toolchain, tmp_path, "cargo", *name.split(), "--help")))
            assert len(listed) > 5, name
            behind = BEHIND if name == "clippy" else table  # Clippy lists the lints that come after --
            undecided |= {(toolchain.name, name, one) for one in listed if not (table.find(one) or behind.find(one))}
    assert not undecided


@pytest.mark.anyio
async def test_every_option_of_rustc_is_decided(toolchains: tuple[Toolchain, ...], tmp_path: Path) -> None:
    undecided = set()
    for toolchain in toolchains:
        listed = set(options(await asked(toolchain, tmp_path, "rustc", "--help", "-v")))
        assert len(listed) > 30
        undecided |= {(toolchain.name, one) for one in listed if not (BEHIND.find(one) and ALONE.find(one))}
        codegen = re.findall(
            r"^ +-C +([a-z-]+)=val", await asked(toolchain, tmp_path, "rustc", "-C", "help"), re.MULTILINE
        )
        assert len(codegen) > 30
        undecided |= {(toolchain.name, f"-C {one}") for one in codegen if one not in CODEGEN}
    assert not undecided


@pytest.mark.anyio
async def test_every_subcommand_of_cargo_runs_or_has_an_answer(
    toolchains: tuple[Toolchain, ...], tmp_path: Path
) -> None:
    known = {*CARGO, *ALIASES, *SUBCOMMANDS, *_BUILT_IN}
    for toolchain in toolchains:
        listed = set(re.findall(r"^ {4}([a-z-]+)", await asked(toolchain, tmp_path, "cargo", "--list"), re.MULTILINE))
        assert {"build", "new"} <= listed
        assert not listed - known, toolchain.name


def test_every_refusal_is_a_sentence() -> None:
    for option in (
        *GLOBAL.all,
        *BEHIND.all,
        *ALONE.all,
        *CODEGEN.values(),
        *(o for t in CARGO.values() for o in t.all),
    ):
        assert not option.refused or option.refused.endswith("."), option
        assert option.refused or option.takes is None or option.takes.fullmatch(option.example), option


def test_the_tables_in_the_docs_are_those_of_the_program() -> None:
    tool = runpy.run_path(str(ROOT / "tools/commands.py"))
    written = (ROOT / "docs/commands.md").read_text(encoding="utf-8").partition(f"{tool['MARK']}\n")[2]
    assert written == tool["tables"](), "run tools/commands.py"
