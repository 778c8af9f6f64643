"""The docs match the program: settings, routes, commands, events, links."""

import re
import tomllib
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest
from typer.main import get_command

from app.cli import cli
from app.course import Course
from app.progress.database import columns, open_database
from app.progress.schema import ROOM_TABLES, TABLES
from app.protocol.events import Event
from app.settings import Settings
from app.web import create_app

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]

KEYS = {"seat", "lesson", "id", "number", "kind", "side"}
"""Columns that say whose a row is, or which."""
STORED: Mapping[str, Mapping[str, str]] = {
    "files": {"path": "the files as they are", "text": "the files as they are"},
    "reached": {"at": "when the step was reached", "toolchain": "and with which compiler"},
    "last_runs": {"run": "its id", "command": "its command", "at": "its time"},
    "snapshots": {"files": "as they were last run"},
    "versions": {"what": "that something replaced", "files": "earlier versions"},
    "guides": {
        "opened": "how many hints are open",
        "choice": "the prediction",
        "happened": "what happened",
        "toolchain": "with which compiler",
    },
    "members": {
        "name": "the name that the learner chose",
        "joined": "when they joined",
        "seen": "when their page was last open",
        "since": "the step they are at and since when",
        "hand": "when they raised their hand",
        "asked": "when they asked for a link",
        "moved": "when one was used",
        "mover": "and who made it",
    },
    "tries": {
        "course": "the course",
        "digest": "and its edition",
        "at": "step, time",
        "reached": "whether it reached the goal",
        "status": "how it ended",
        "class": "the class of its first error",
        "failed": "which checks failed",
        "seconds": "which checks failed, seconds",
        "run": "of each run: its id",
    },
    "messages": {"at": "with step and time", "text": "hints, sentences and snippets"},
    "shown": {"run": "which run of which step", "until": "and until when"},
    "links": {"hash": "SHA-256 hashes", "until": "until when each is good", "maker": "and who made it"},
    "class": {"key": "name of the class", "value": "name of the class"},
    "instructors": {
        "key": "the instructors' keys",
        "name": "the name that `--for` gives",
        "at": "since when each is good",
    },
    "sums": {"what": "sums per step", "count": "sums per step"},
}
"""The words of ``docs/privacy.md`` about each other column, by table."""


def test_every_setting_is_documented_with_its_default() -> None:
    rows = dict(
        re.findall(r"^\| `(PLAYGROUND_\w+)` \| (.+?) \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
    )
    assert rows.keys() == {f"PLAYGROUND_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, int | float | str):
            assert rows[f"PLAYGROUND_{name.upper()}"] == f"`{field.default}`"


def test_every_route_of_the_api_is_documented(settings: Settings) -> None:
    text = (ROOT / "docs/api.md").read_text()
    paths = create_app(settings).openapi()["paths"]
    for path, methods in paths.items():
        for method in methods:
            assert f"`{method.upper()} {path.replace('run_id', 'id')}`" in text
    assert len(paths) >= 7


def test_every_event_field_is_documented() -> None:
    text = (ROOT / "docs/api.md").read_text()
    for kind in get_args(Event):
        row = next(line for line in text.splitlines() if line.startswith(f"| `{kind.model_fields['type'].default}`"))
        for name, field in kind.model_fields.items():
            if name not in ("id", "type"):
                assert f"`{field.alias or name}" in row


def test_the_privacy_page_names_every_column(tmp_path: Path) -> None:
    """A new column fails here until the page says what it stores of whom."""
    text = " ".join((ROOT / "docs/privacy.md").read_text(encoding="utf-8").split())
    with closing(open_database(tmp_path / "progress.sqlite3")) as db:
        stored = {table: {name for _, name, _ in columns(db, table)} - KEYS for table in (*TABLES, *ROOM_TABLES)}
    assert {table: words.keys() for table, words in STORED.items()} == stored
    for table, words in STORED.items():
        for column, phrase in words.items():
            assert phrase in text, f"{table}.{column}"


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    for name in get_command(cli).commands:  # type: ignore[attr-defined]  # it is a group
        assert f"playground {name}" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_picture_is_shown() -> None:
    shown = {Path(found).name for page in PAGES for found in re.findall(r"screens/[\w-]+\.png", page.read_text())}
    assert shown == {path.name for path in (ROOT / "docs/screens").iterdir()}


def test_every_place_of_a_change_exists() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .*\*\*.*$", text.partition("## Where do I change")[2].partition("\n## ")[0], re.MULTILINE)
    assert len(rows) >= 12
    for row in rows:
        places = re.findall(r"`([\w./-]+/[\w./-]*)`", row)
        assert places, row
        for place in places:
            assert (ROOT / place).exists(), place


def test_the_architecture_names_every_room() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    for path in sorted((ROOT / "app").glob("*")):
        if path.suffix == ".py" or (path / "__init__.py").exists():
            assert path.stem == "__init__" or f"`{path.stem}" in text, path.stem


def test_the_lesson_format_names_every_key(taught: Course) -> None:
    text = (ROOT / "docs/lesson-format.md").read_text()
    for manifest in (taught.folder / "course.toml", *taught.folder.glob("*/lesson.toml")):
        for key in tomllib.loads(manifest.read_text()):
            assert re.search(rf"`\[*{key}\b", text), key
