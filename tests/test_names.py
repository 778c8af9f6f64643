"""Code that serves any course names no post, no author and no target of one."""

import re
from pathlib import Path

APP = Path(__file__).resolve().parent.parent / "app"
ONE_COURSE = re.compile(r"a freestanding rust binary|oppermann|phil-opp|thumbv7em|blog_os", re.IGNORECASE)


def test_the_program_names_no_post_and_no_target_of_a_course() -> None:
    files = [path for path in APP.rglob("*") if path.suffix in (".py", ".rs", ".html", ".txt")]
    files += [path for path in (APP.parent / "static").rglob("*.js") if "vendor" not in path.parts]
    assert len(files) > 200
    named = [str(path) for path in files if ONE_COURSE.search(path.read_text(encoding="utf-8"))]
    assert named == []
