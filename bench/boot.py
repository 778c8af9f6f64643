"""From the start of a kernel to the first byte on its serial line, in a run of the playground and in QEMU alone.

Both start the same file with the same command. Alone: from starting QEMU to the byte in its pipe. Ours: from the
post to the event, so queue, folder, isolation and the program in front of QEMU are in it. These take some 8 ms, and the
namespaces 6 more, whatever is booted: the ratio is high where QEMU itself is quick, as on the ARM board.
"""

import http.client
import json
import os
import shlex
import statistics
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from app.lessons import Lesson, load_all
from app.settings import Settings
from bench.common import serving

MOST = 15
"""Rounds: the kernel on the ARM board runs until its time is up."""

LESSONS = {
    "boot-arm": "qemu-system-arm -M mps2-an386 -serial stdio -display none -kernel",
    "boot-x86": "qemu-system-x86_64 -serial stdio -display none -device isa-debug-exit,iobase=0xf4,iosize=0x04 -kernel",
}


def alone(command: str, kernel: Path) -> float:
    """Seconds until QEMU, started as a user would, has written a byte of the kernel's."""
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


def posted(server: http.client.HTTPConnection, body: Mapping[str, object]) -> tuple[str, float]:
    """The run's id, and the seconds from the post to the first output; returns when the run is over."""
    began = time.perf_counter()
    server.request("POST", "/api/runs", json.dumps(body), {"content-type": "application/json"})
    answer = json.load(server.getresponse())
    server.request("GET", answer["events"])
    took = 0.0
    for line in server.getresponse():
        if line.startswith(b'data: {"type":"output"') or (line.startswith(b"data: ") and b'"output"' in line[:60]):
            took = took or time.perf_counter() - began
    return answer["id"], took


def boots(folder: Path, rounds: int) -> None:
    """Both, interleaved, for each lesson that boots; what is printed are medians and the ratio pair by pair."""
    lessons = {lesson.slug: lesson for lesson in load_all(Settings().lessons_dir)}
    with serving(folder) as (server, _):
        compare(server, lessons, folder, min(rounds, MOST))


def compare(server: http.client.HTTPConnection, lessons: Mapping[str, Lesson], folder: Path, rounds: int) -> None:
    """Both, on one server."""
    print(f"\n{'first serial byte':34}{'QEMU':>8}{'ours':>8}   ratio  (10th-90th percentile)")
    for slug, command in LESSONS.items():
        lesson = lessons[slug]
        files = {path: text for path, text in lesson.solution.items() if path in lesson.editable}
        built, _ = posted(server, {"lesson": slug, "files": files, "command": "cargo build"})
        path = f"target/{lesson.target}/debug/blog_os"
        server.request("GET", f"/api/runs/{built}/artifact/file")
        kernel = folder / slug
        kernel.write_bytes(server.getresponse().read())
        body = {"lesson": slug, "files": files, "command": f"{command} {path}", "after": built}
        pairs = [(alone(command, kernel), posted(server, body)[1]) for _ in range(rounds)]
        ratios = sorted(ours / bare for bare, ours in pairs)
        medians = [1000 * statistics.median(values) for values in zip(*pairs, strict=True)]
        spread = f"{ratios[len(ratios) // 10]:.2f}-{ratios[-1 - len(ratios) // 10]:.2f}"
        print(f"{slug:34}{medians[0]:8.1f}{medians[1]:8.1f}   {statistics.median(ratios):5.2f}  ({spread})", flush=True)
