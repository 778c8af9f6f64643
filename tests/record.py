"""Record real runs for test_checks.py: ``.venv/bin/python tests/record.py`` writes ``tests/recordings/`` anew.

Each file is one run: a line that says what was run, then its events, with this machine's folders replaced.
"""

import json
import re
import sys
from pathlib import Path

import anyio

from app.command import parse
from app.diagnosis import load_diagnosis
from app.engine import Job
from app.engine.local import LocalEngine
from app.events import to_json
from app.lessons import Expectation, Lesson, load_all
from app.settings import Settings
from app.toolchain import Toolchain, discover

FOLDER = Path(__file__).parent / "recordings"
WANTED = ("1.63", "1.95", "1.96")


async def record() -> None:
    """Run what the lessons expect on each compiler that the course speaks of."""
    settings = Settings()
    lessons = load_all(settings.lessons_dir)
    diagnosis = load_diagnosis(settings.lessons_dir / "errors.toml")
    toolchains = [one for one in await discover(settings.cache_dir) if one.name in WANTED]
    async with LocalEngine(settings, diagnosis) as engine:
        for old in FOLDER.glob("*.jsonl"):
            old.unlink()
        for lesson in lessons:
            for toolchain in toolchains:
                if toolchain.can_build(lesson.target):
                    for number, expectation in enumerate(_chosen(lesson)):
                        await _record(engine, lesson, toolchain, expectation, number)


def _chosen(lesson: Lesson) -> list[Expectation]:
    reached = [item for item in lesson.expectations if item.reached]
    missed = [item for item in lesson.expectations if not item.reached]
    return reached[:1] + missed[:1]


async def _record(
    engine: LocalEngine, lesson: Lesson, toolchain: Toolchain, expectation: Expectation, number: int
) -> None:
    files = lesson.files if expectation.files == "start" else lesson.solution
    job = Job(lesson, files, parse(expectation.command), toolchain)
    run_id = engine.submit(job)
    what = {"lesson": lesson.slug, "command": expectation.command, "version": toolchain.version}
    lines = [json.dumps(what), *[to_json(event) async for event in engine.events(run_id)]]
    text = "\n".join(lines) + "\n"
    text = re.sub(r"/[^\s\"\\]*?/server-\w+/\d+", "/playground", text)
    text = re.sub(r"/[^\s\"\\:]*?/lib/rustlib/", "/toolchain/lib/rustlib/", text)
    (FOLDER / f"{lesson.slug}-{toolchain.name}-{number}.jsonl").write_text(text)


if __name__ == "__main__":
    sys.exit(anyio.run(record))
