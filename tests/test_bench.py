"""The measurements: what they leave out after `make setup` alone, their sums, and the floor."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.toolchain import Toolchain, tools
from bench import boot, chaos, classroom, common, load, readers, soak
from bench.__main__ import Row
from bench.floor import Floor
from bench.processes import Parts
from bench.throughput import looped


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


def serve() -> None:
    """Begin as the measurements of `make bench` do."""
    with common.serving(Path("nowhere")):
        pass


@pytest.mark.parametrize(
    "measure",
    [serve, load.main, classroom.main, chaos.main, readers.main, soak.main],
    ids=["bench", "load", "class", "chaos", "bench-readers", "soak"],
)
def test_without_a_toolchain_one_sentence_says_what_to_do(
    measure: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench"])
    monkeypatch.setattr(common, "discover", no_toolchains)
    with pytest.raises(SystemExit, match="No compiler here builds for this computer; make setup says what to do"):
        measure()


def test_a_row_has_the_ratios_of_its_rounds_and_of_the_means_of_the_processor_time() -> None:
    row = Row("case", raw=[0.1, 0.2, 0.1], floor=[0.11, 0.2, 0.1], ours=[0.12, 0.2, 0.15], first=[0.004] * 3)
    row.raw_cpu, row.floor_cpu, row.cost = [0.05, 0.07], [0.06, 0.08], Parts(10, 65, 5)
    assert row.line().split() == ["case", "100.0", "110.0", "150.0", "4.0", "1.20", "(1.00-1.50)", "1.09"]
    assert row.costs().split()[:6] == ["case", "60.0", "70.0", "1.33", "1.14", "80.0"]


def test_the_floor_builds_in_a_new_folder_and_leaves_nothing(open_folder: Path) -> None:
    case = common.cases()[1]
    with Floor.of(case, open_folder / "floor") as floor:
        seconds, used = floor.run(case.source())
        assert 0 < used < 30
        assert seconds > 0
        assert floor._seed.crate.keys() == {"target/.rustc_info.json"}
        assert not [path for path in (open_folder / "floor").iterdir() if path.name.isdigit()]


def test_a_closed_loop_counts_what_ended() -> None:
    rate, count = looped([lambda: time.sleep(0.02)] * 2, 0.1)
    assert 2 <= count <= 12
    assert 0 < rate < 120
