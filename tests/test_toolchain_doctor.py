"""The doctor's report: what is installed and from where, what is missing, and the command that fixes it."""

import json
from pathlib import Path

import pytest

from app.protocol.command import LOOKUPS
from app.settings import Settings
from app.toolchain import EMULATORS, DoctorReport, Flaw, Survey, Toolchain, examine, preferred
from app.toolchain.debian import is_debian
from app.toolchain.doctor import ToolReport, report
from app.toolchain.needs import Needs, needs
from tests.support.environment import BARE_METAL


@pytest.mark.anyio
async def test_it_names_every_toolchain_and_how_its_targets_came(
    toolchains: tuple[Toolchain, ...], bare_metal: Toolchain, shipped: Settings
) -> None:
    seen = await examine(shipped.cache_dir, essential=(BARE_METAL,))
    assert seen.ok
    offered = {compiler.name: compiler for compiler in seen.toolchains if not compiler.hidden}
    assert set(offered) == {toolchain.name for toolchain in toolchains}
    for toolchain in toolchains:
        compiler = offered[toolchain.name]
        assert compiler.targets == toolchain.targets
        assert (compiler.rustc, compiler.cargo) == (toolchain.version, toolchain.cargo_version)
        assert compiler.host == toolchain.host
    assert BARE_METAL in offered[bare_metal.name].targets


@pytest.mark.anyio
async def test_it_says_which_one_is_the_default(toolchains: tuple[Toolchain, ...], shipped: Settings) -> None:
    seen = await examine(shipped.cache_dir, essential=(BARE_METAL,))
    for purpose, target in {"host": None, "bare-metal": BARE_METAL}.items():
        (name,) = [compiler.name for compiler in seen.toolchains if purpose in compiler.default_for]
        chosen = preferred(toolchains, target)
        assert chosen
        assert name == chosen.name


@pytest.mark.anyio
async def test_text_and_json_say_the_same(shipped: Settings) -> None:
    seen = await examine(shipped.cache_dir, essential=(BARE_METAL,))
    text = seen.to_text()
    assert DoctorReport.model_validate_json(seen.model_dump_json()) == seen
    for compiler in json.loads(seen.model_dump_json())["toolchains"]:
        assert f"rustc {compiler['rustc']}" in text
        assert all(target in text for target in compiler["targets"])
    assert [tool.name for tool in seen.lookups] == list(LOOKUPS)
    for tool in (*seen.linkers, *seen.lookups):
        assert (str(tool.path) in text and tool.version in text) if tool.path else f"{tool.name}: missing" in text


@pytest.mark.anyio
async def test_a_machine_with_nothing_gets_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.toolchain.debian.is_debian", lambda: True)
    monkeypatch.setattr("app.toolchain.debian.is_root", lambda: False)
    nothing = Survey(())
    cc = ToolReport(name="cc", path=None)
    seen = report(nothing, await needs(nothing, (BARE_METAL,)), (cc,), ())
    assert not seen.ok
    assert seen.command
    assert seen.command.endswith(" setup")
    text = seen.to_text()
    assert seen.command in text
    assert "cc: missing" in text
    assert BARE_METAL in text


def test_missing_emulators_hinder_only_the_lessons_that_boot(toolchains: tuple[Toolchain, ...]) -> None:
    lacking = tuple(ToolReport(name=name, path=None) for name in EMULATORS)
    seen = report(Survey(toolchains), Needs((), False, (), (), (), None), (), (), lacking)
    assert seen.ok
    (problem,) = seen.problems
    assert "Lessons that boot a machine cannot be done" in problem
    if is_debian():
        assert problem.endswith("install --no-install-recommends qemu-system-arm qemu-system-x86")
    assert "qemu-system-arm: missing" in seen.to_text()


def test_a_broken_compiler_is_reported_and_does_no_harm(toolchains: tuple[Toolchain, ...]) -> None:
    found = Survey(toolchains[:1], toolchains[1:], (Flaw(Path("/opt/rustc"), "/opt/rustc is broken."),))
    seen = report(found, Needs((), False, (), (), (), None), (), ())
    assert seen.ok
    assert seen.problems == ("/opt/rustc is broken.",)
    assert "/opt/rustc is broken." in seen.to_text()
    assert [compiler.hidden for compiler in seen.toolchains] == [False] + [True] * (len(toolchains) - 1)
    assert seen.to_text().count("hidden by another one") == len(toolchains) - 1


@pytest.mark.anyio
async def test_it_says_which_lessons_need_a_target_that_is_missing_and_how_to_have_it(
    monkeypatch: pytest.MonkeyPatch, shipped: Settings, bare_metal: Toolchain
) -> None:
    del bare_metal
    lessons = {"one": (BARE_METAL,), "two": ("none-such-target", BARE_METAL)}
    monkeypatch.setattr("app.toolchain.doctor.can_add_targets", lambda _found: True)
    seen = await examine(shipped.cache_dir, lessons, (BARE_METAL,))
    assert seen.ok, "it is set up when the lesson needs it"
    assert {target.name: target.lessons for target in seen.targets} == {
        BARE_METAL: ("one", "two"),
        "none-such-target": ("two",),
    }
    assert "none-such-target: missing; set up when a lesson needs it (two)" in seen.to_text()
    monkeypatch.setattr("app.toolchain.doctor.can_add_targets", lambda _found: False)
    seen = await examine(shipped.cache_dir, lessons, (BARE_METAL,))
    assert not seen.ok
    assert "No toolchain here can build for none-such-target." in seen.problems
