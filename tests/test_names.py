"""The code names no course's post, author or target, so that it can serve any course."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("app", "bench", "deploy", "tools")
ONE_COURSE = re.compile(r"a freestanding rust binary|oppermann|phil-opp|thumbv7em|blog_os", re.IGNORECASE)


def test_the_program_names_no_post_and_no_target_of_a_course() -> None:
    files = [
        path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in (".py", ".rs", ".html", ".txt")
    ]
    files += [path for path in (ROOT / "static").rglob("*.js") if "vendor" not in path.parts]
    files += [path for path in (ROOT / "tools").iterdir() if path.is_file()]
    assert len(files) > 200
    named = [str(path) for path in files if ONE_COURSE.search(path.read_text(encoding="utf-8"))]
    assert named == []
