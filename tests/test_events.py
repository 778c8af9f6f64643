"""Events survive JSON both ways, and refuse what they are not."""

import json

import pytest
from pydantic import ValidationError

from app.protocol.events import (
    Artifact,
    Diagnostic,
    Edit,
    Event,
    Finished,
    Machine,
    Observed,
    Output,
    Queued,
    Screen,
    Span,
    Started,
    Verdict,
    from_json,
    to_json,
)

SAMPLES: tuple[Event, ...] = (
    Queued(id=1, position=3),
    Started(id=2, toolchain="1.96", argv=("cargo", "build"), isolation="none"),
    Output(id=3, stream="stderr", text="\x1b[1mfat\x1b[0m\u2028\n"),
    Diagnostic(
        id=4,
        level="error",
        code="E0152",
        message="found duplicate",
        rendered="error…",
        spans=(Span(file="src/main.rs", line=1, column=2, end_line=1, end_column=3, primary=True),),
        error_class="panic-impl-duplicate",
    ),
    Artifact(
        id=5,
        path="target/debug/blog_os",
        bytes=1,
        sha256="00",
        format="ELF",
        machine="ARM",
        entry=0,
        entry_symbol=None,
        needed=(),
        interpreter=None,
    ),
    Observed(
        id=8,
        path="target/debug/blog_os",
        outcome="killed",
        reason="returned",
        detail="…",
        seconds=0.1,
        cpu_seconds=0.0,
        system_calls=1,
        calls=("write",),
        signal="SIGSEGV",
        pc=1,
        address=1,
    ),
    Screen(id=9, columns=2, rows=1, text=("Hi",), colors=("0f0f",)),
    Machine(id=10, emulator="qemu-system-arm", ended="exited", exit_code=0, seconds=1.5, meaning="…", registers="pc=0"),
    Started(id=2, toolchain="1.96", argv=("cargo", "build"), isolation="none", note="Read as `cargo build`."),
    Edit(id=11, path="src/main.rs", text="fn main() {}\n"),
    Finished(id=6, status="limit", exit_code=None, seconds=0.5, limit="output"),
    Finished(id=6, status="failed", exit_code=None, seconds=0.5, reason="engine-lost"),
    Verdict(id=7, reached=False, checks=()),
)


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.type)
def test_an_event_survives_json(event: Event) -> None:
    line = to_json(event)
    assert "\n" not in line
    assert from_json(line) == event


def test_a_reason_stands_only_where_there_is_one() -> None:
    plain = Finished(id=6, status="ok", exit_code=0, seconds=0.5)
    assert "reason" not in json.loads(to_json(plain))
    assert json.loads(to_json(plain.model_copy(update={"reason": "engine-lost"})))["reason"] == "engine-lost"


def test_the_names_of_the_contract() -> None:
    diagnostic = json.loads(to_json(SAMPLES[3]))
    assert diagnostic["class"] == "panic-impl-duplicate"
    assert "error_class" not in diagnostic
    artifact = json.loads(to_json(SAMPLES[4]))
    contract = {"type", "id", "path", "bytes", "sha256", "format", "machine", "entry", "entry_symbol", "needed"}
    assert artifact.keys() >= contract | {"interpreter"}


def test_an_unknown_type_or_field_is_refused() -> None:
    for line in ('{"type": "party", "id": 1}', '{"type": "queued", "id": 1, "position": 0, "more": 1}', "[]"):
        with pytest.raises(ValidationError):
            from_json(line)


def test_an_event_is_frozen() -> None:
    with pytest.raises(ValidationError):
        setattr(SAMPLES[0], "id", 9)  # noqa: B010 - a plain assignment is refused by the type checker already
    assert SAMPLES[0].numbered(9).id == 9
