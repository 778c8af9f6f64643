"""The processor time and the memory of a tree of processes, for the measurements."""

import subprocess
import sys
import time

import pytest

from bench.processes import Parts, memory, parts, parts_of, settled

BURN = "import time\nwhile time.process_time() < {}: pass\n"


def stat(pid: int, parent: int, *used: int, name: str = "x") -> str:
    """Return a line of /proc/PID/stat with these ticks: user, system, and both for reaped children."""
    before = f"{pid} ({name}) S {parent} 1 1 0 -1 4194304 10 20 30 40"
    return f"{before} {' '.join(map(str, used))} 20 0 1 0 100 0 0 18446744073709551615"


def test_a_tree_is_a_process_with_its_descendants_and_their_reaped_children() -> None:
    stats = [
        stat(10, 1, 100, 20, 3, 4),
        stat(30, 20, 5, 0, 0, 1, name="a) S 1 (b"),  # listed before its parent, with a misleading name
        stat(20, 10, 10, 0, 0, 0),
        stat(11, 1, 1000, 1000, 1000, 1000),
        stat(40, 11, 1000, 0, 0, 0),
    ]
    assert parts_of(stats, 10, 100) == Parts(1.2, 0.07, 0.16)
    assert parts_of(stats, 99, 100) == Parts()


def test_the_time_of_real_children_is_counted_once_before_and_after_their_end() -> None:
    child = BURN.format(0.3)
    parent = (
        f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {child!r}])\nprint('done', flush=True)\n"
    )
    begun = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", f"{parent}input()"], stdout=-1, stdin=-1, text=True) as process:
        seen = 0.0
        while time.monotonic() - begun < 30 and seen < 0.15:
            seen = parts(process.pid).total
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        ended = parts(process.pid).total
        process.kill()
    assert 0.15 <= seen <= ended
    assert 0.28 <= ended < 1.5


def test_a_tree_has_settled_when_it_has_nothing_left_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    used = [0.1, 0.4, 0.6, 0.64, 0.9]
    looks = iter(used)
    monkeypatch.setattr("bench.processes.parts", lambda _: Parts(server=next(looks)))
    monkeypatch.setattr("bench.processes.time.sleep", lambda _: None)
    assert settled(1).total == used[3]


def test_a_real_tree_settles() -> None:
    code = f"{BURN.format(0.8)}print('done', flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=-1, stdin=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"  # a busy machine could let it wait for half a second
        used = settled(process.pid).total
        process.kill()
    assert 0.75 <= used < 2, "counted in hundredths, of each process rounded down"


def test_memory_is_printed_in_the_unit_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.processes._rollup", lambda _pid: {"Rss": 300 * 1024, "Pss": 200 * 1024})
    assert memory(-1).line() == "300 MiB resident, 200 MiB as its share; its readers 0 MiB"


def test_pages_that_processes_share_are_counted_once() -> None:
    fork = "import os\nx = b'1' * 60_000_000\nif not os.fork(): os.read(0, 1)\nprint('ready', flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", fork], stdout=-1, stdin=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        used = memory(process.pid)
        process.communicate("x\n\n")
    assert used.resident > 60
    assert used.server < used.resident
    assert used.others > 20
    assert used.server + used.others < 1.5 * used.resident
