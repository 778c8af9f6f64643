"""Measure the time from a kernel's start to its first serial byte, in a playground run and in QEMU alone.

Both start the same file with the same command. Alone: from starting QEMU to the byte in its pipe. Ours: from the run's
``started`` event to the byte's event, which includes isolation and the program in front of QEMU. The time from the post
to the start, in which the run's folder is made, is printed separately.
"""

import os
import shlex
import statistics
import subprocess
import time
from pathlib import Path

import anyio

from app.course import Lesson, load_shelf
from app.engine import JobSpec
from app.engine.local import LocalEngine
from app.protocol.command import parse
from app.protocol.events import Output, Started
from app.protocol.job import new_run_id
from app.settings import Settings
from app.toolchain import discover, missing, missing_tools, preferred

MOST = 15
"""The number of rounds, which is small because the kernel on the ARM board runs until the timeout."""

LESSONS = {
    "boot-arm-uart": "qemu-system-arm -M mps2-an386 -serial stdio -display none -kernel",
    "boot-x86": "qemu-system-x86_64 -serial stdio -display none -device isa-debug-exit,iobase=0xf4,iosize=0x04 -kernel",
}


def alone(command: str, kernel: Path) -> float:
    """Return the seconds until QEMU, started as a user would, writes the kernel's first byte."""
    began = time.perf_counter()
    with subprocess.Popen(
        [*shlex.split(command), str(kernel)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 1)
        took = time.perf_counter() - began
        process.kill()
    return took


async def ours(engine: LocalEngine, job: JobSpec) -> tuple[float, float]:
    """Return the seconds from the post to the start, and from there to the first output, once the run has ended."""
    taken = time.perf_counter()
    times: dict[type, float] = {}
    async for event in engine.events(await engine.submit(job)):
        times.setdefault(type(event), time.perf_counter())
    return times[Started] - taken, times[Output] - times[Started]


async def compare(engine: LocalEngine, job: JobSpec, lesson: Lesson, command: str, kernel: Path, rounds: int) -> str:
    """Measure both, interleaved; return a line with medians and the pairs' ratio. ``job`` builds the ``kernel``."""
    built = await engine.submit(job)
    async for _ in engine.events(built):
        pass
    kernel.write_bytes(b"".join([piece async for piece in engine.artifact_bytes(built)]))
    looks = parse(f"{command} {(await engine.artifact(built)).path}")
    job = job.model_copy(update={"command": looks, "after": built})
    rows = []
    for _ in range(rounds):
        bare = await anyio.to_thread.run_sync(alone, command, kernel)
        rows.append((bare, *await ours(engine, job.model_copy(update={"run_id": new_run_id()}))))
    ratios = sorted(booted / bare for bare, _, booted in rows)
    spread = f"{ratios[len(ratios) // 10]:.2f}-{ratios[-1 - len(ratios) // 10]:.2f}"
    cells = (f"{1000 * statistics.median(values):8.1f}" for values in zip(*rows, strict=True))
    return f"{lesson.slug:34}{''.join(cells)}   {statistics.median(ratios):5.2f}  ({spread})"


async def _boots(folder: Path, rounds: int) -> None:
    folder.mkdir(mode=0o711)
    folder.chmod(0o711)
    settings = Settings().model_copy(update={"data_dir": folder / "data", "scratch_dir": folder / "scratch"})
    course = load_shelf(settings.lessons_dir).default
    lessons = {lesson.slug: lesson for lesson in course.lessons}
    toolchains = await discover(settings.cache_dir)
    async with LocalEngine(settings, (course,)) as engine:
        for slug, command in LESSONS.items():
            lesson = lessons[slug]
            toolchain = preferred(toolchains, lesson.target)
            lacking = (*missing_tools(lesson.needs), *missing(toolchains, lesson.targets))
            if toolchain is None or lacking:
                print(f"{slug:34}left out: {', '.join(map(str, lacking))} missing here; make targets brings it")
            else:
                job = JobSpec(
                    course=course.id,
                    digest=course.digest,
                    lesson=slug,
                    files={**lesson.files, **lesson.solution},
                    command=parse("cargo build"),
                    toolchain=toolchain.name,
                )
                print(await compare(engine, job, lesson, command, folder / "kernel", rounds), flush=True)


def boots(folder: Path, rounds: int) -> None:
    """Measure both for each lesson that boots."""
    print(f"\n{'first serial byte':34}{'QEMU':>8}{'laying':>8}{'ours':>8}   ratio  (10th-90th percentile)")
    anyio.run(_boots, folder, min(rounds, MOST))
