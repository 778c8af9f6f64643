"""A new event, command kind, fact, key or error code is in every place that `docs/architecture.md` lists."""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from app.course.checks import FinishedRun, misses
from app.course.diagnosis import ErrorClass
from app.course.facts import (
    ArtifactFacts,
    CommandFacts,
    Facts,
    MachineFacts,
    ObservedFacts,
    Situation,
    SourceFacts,
    TableFacts,
)
from app.course.glossary import Term
from app.course.lesson import Lesson
from app.course.recordings import RecordingKey, from_text, record, to_text
from app.protocol.command import CommandKind, parse
from app.protocol.events import Artifact, Event, Finished, Machine, Observed
from tests.support.events import SAMPLES

ROOT = Path(__file__).parent.parent
API = (ROOT / "docs/api.md").read_text(encoding="utf-8")
LESSON_FORMAT = (ROOT / "docs/lesson-format.md").read_text(encoding="utf-8")

EVENTS = {kind.model_fields["type"].default for kind in get_args(Event)}

LINES: Mapping[CommandKind, str] = {
    "cargo": "cargo build",
    "new": "cargo new blog_os",
    "rustc": "rustc --version",
    "rustup": "rustup target list",
    "lookup": "readelf -h target/debug/blog_os",
    "program": "target/debug/blog_os",
    "answer": "ls",
    "emulate": "qemu-system-arm -kernel target/debug/blog_os",
}
"""A command of each kind."""

BINARY = Artifact(
    path="target/debug/x",
    bytes=1,
    sha256="00",
    format="ELF",
    machine="ARM",
    entry=1,
    entry_symbol="_start",
    needed=("libc.so.6",),
    interpreter="/lib/ld.so",
    runtime=("__libc_start_main",),
    subsystem="console",
)
PROGRAM = Observed(
    path="x", outcome="exited", reason="exit", detail="It ended.", seconds=0, cpu_seconds=0, system_calls=1, exit_code=0
)
EMULATED = Machine(
    emulator="qemu-system-arm", ended="off", exit_code=None, seconds=0, meaning="It is off.", registers=""
)

NEVER: Mapping[type[BaseModel], Mapping[str, Any]] = {
    Facts: {
        "status": "failed",
        "errors": ("nothing",),
        "output": "never printed",
        "linker": "never printed",
        "artifact": {"format": "PE"},
        "observed": {"outcome": "killed"},
        "exit_code": 7,
        "machine": {"ended": ("time",)},
        "command": {"program": "rustc"},
    },
    CommandFacts: {
        "program": "rustc",
        "subcommand": ("check",),
        "flags_by_hand": True,
        "target": True,
        "options": ("--release",),
    },
    ArtifactFacts: {
        "format": "PE",
        "machine": ("AArch64",),
        "entry": "zero",
        "entry_symbol": "main",
        "needed": (),
        "interpreter": "none",
        "runtime": (),
        "subsystem": "windows",
    },
    ObservedFacts: {"outcome": "killed", "reason": ("loops",), "exit_code": 7, "calls": ("exit",)},
    MachineFacts: {"ended": ("time",), "screen": "never shown"},
}
"""For each fact, a value that is wrong for the run below."""

OF: Mapping[type[BaseModel], str] = {
    CommandFacts: "command",
    ArtifactFacts: "artifact",
    ObservedFacts: "observed",
    MachineFacts: "machine",
}


def models(*kinds: type) -> Iterator[type[BaseModel]]:
    """Yield every model of a content file in the modules of these classes."""
    for kind in kinds:
        for each in vars(sys.modules[kind.__module__]).values():
            if isinstance(each, type) and issubclass(each, BaseModel) and each.__module__ == kind.__module__:
                yield each


def codes() -> Iterator[str]:
    """Yield the error codes of the web, read from the source."""
    at = {"ProblemError": 1, "EditError": 0}
    for path in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in at:
                code = node.args[at[node.func.id]]
                if isinstance(code, ast.Constant):
                    yield str(code.value)


def test_every_event_has_a_template_and_every_template_an_event() -> None:
    assert {path.stem for path in (ROOT / "app/web/templates/events").glob("*.html")} == EVENTS


def test_every_style_sheet_is_linked() -> None:
    templates = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "app/web/templates").glob("*.html"))
    linked = set(re.findall(r"/static/css/([\w-]+\.css)", templates))
    assert linked == {path.name for path in (ROOT / "static/css").iterdir()}


def test_every_event_has_a_sample() -> None:
    assert {event.type for event in SAMPLES} == EVENTS


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.type)
def test_every_event_comes_back_from_a_recording(event: Event) -> None:
    what = RecordingKey("start", "cargo build", "1.96.0", "x86_64-unknown-linux-gnu", "system")
    kept = record(what, [event])
    assert from_text(to_text([kept])) == (kept,)
    assert [one.type for one in kept.events] == ([] if event.type == "verdict" else [event.type])


def test_every_kind_of_command_is_understood() -> None:
    assert LINES.keys() == set(get_args(CommandKind))
    assert {kind: parse(line).kind for kind, line in LINES.items()} == {kind: kind for kind in LINES}


def test_there_is_a_value_that_does_not_hold_for_every_fact() -> None:
    assert {model: set(values) for model, values in NEVER.items()} == {
        model: set(model.model_fields) for model in NEVER
    }


@pytest.mark.parametrize(
    ("model", "name"), [(model, name) for model, values in NEVER.items() for name in values], ids=str
)
def test_every_fact_is_asked_for(model: type[BaseModel], name: str) -> None:
    """An unchecked fact would be true of every run."""
    seen = FinishedRun(
        parse("cargo build"), Finished(status="ok", exit_code=0, seconds=0), (), BINARY, "", "", PROGRAM, EMULATED
    )
    fact: dict[str, Any] = {name: NEVER[model][name]}
    if model is CommandFacts:
        fact = {"program": "cargo"} | fact
    found = misses(Facts.model_validate({OF[model]: fact} if model in OF else fact), seen)
    assert len(found) == 1
    assert found[0].endswith(".")


FOR_ADVICE = (Situation, SourceFacts, TableFacts)


@pytest.mark.parametrize(
    "model", [*NEVER, *FOR_ADVICE, *models(Lesson, ErrorClass, Term)], ids=lambda model: model.__name__
)
def test_every_key_of_a_content_file_is_documented(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        key = field.alias or name
        assert re.search(rf"(`|^)\[*(predict\.)?{key}\b", LESSON_FORMAT, re.MULTILINE), key


def test_every_code_of_an_error_is_documented() -> None:
    found = set(codes())
    assert len(found) > 25
    assert not {code for code in found if f"`{code}`" not in API}
