"""After `make setup` alone, the measurements name what they leave out and the command that installs it."""

from pathlib import Path

import pytest

from app.toolchain import Toolchain, tools
from bench import boot, common


async def no_toolchains(_cache: Path) -> tuple[Toolchain, ...]:
    return ()


def test_without_an_emulator_the_boots_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tools, "TOOL_PATH", str(tmp_path))
    boot.boots(tmp_path / "boot", 1)
    said = capsys.readouterr().out
    for slug, program in (("boot-arm-uart", "qemu-system-arm"), ("boot-x86", "qemu-system-x86_64")):
        assert f"{slug:34}left out: {program} missing here; make targets brings it" in said


def test_without_a_toolchain_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "discover", no_toolchains)
    with pytest.raises(SystemExit, match="No compiler here builds for this computer; make setup says what to do"):
        common.cases()
