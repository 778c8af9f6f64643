"""Kill, stop and cut off every part of a cluster while 16 clients run a mix: ``python -m bench.chaos [SECONDS]``.

A web, a broker and two workers, each a process of its own; then the same with three brokers that keep each message
three times, of which one after the other is killed. Each accepted run must end with exactly one verdict, with ids
without holes and its progress stored before its reader saw it, and nothing may be left. The exit code is 1 if a promise
was broken. ``tests/test_chaos.py`` is the quick half.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.course import load_shelf
from app.settings import Settings
from bench.common import require_compilers
from tests.support.chaos import ACTS, Report, play
from tests.support.cluster import Cluster

SECONDS = 60.0
CLIENTS = 16
OF_THREE = ("broker killed", "worker killed", "broker killed", "web killed", "broker killed")


def chaos(acts: Sequence[str], seconds: float, brokers: int) -> Report:
    """Play the acts, and print what was seen."""
    lessons = {lesson.slug: lesson for lesson in load_shelf(Settings().lessons_dir).default.lessons}
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o711)  # the users of runs must be able to enter
        with Cluster(folder, brokers=brokers) as cluster:
            report = play(cluster, lessons, acts, clients=CLIENTS, seconds=seconds)
    for line in report.lines():
        print(line, flush=True)
    return report


def main() -> None:
    """Play both parts."""
    require_compilers()
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    one = chaos(tuple(ACTS), seconds, 1)
    print("three brokers, each message on all of them", flush=True)
    three = chaos(OF_THREE, 0, 3)
    runs, deaths = len(one.runs) + len(three.runs), one.acts.total() + three.acts.total()
    wrong = len(one.wrong) + len(three.wrong)
    print(f"{f'{wrong} promises were broken' if wrong else 'nothing was lost'}: {runs} runs, {deaths} deaths")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
