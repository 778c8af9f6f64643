"""The docs match the program: settings, routes, commands, events, links."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from typer.main import get_command

from app.cli import cli
from app.course import Course
from app.protocol.events import Event
from app.settings import Settings
from app.web import create_app

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


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
