"""Events round-trip through JSON and reject unknown types and fields."""

import json

import pytest
from pydantic import ValidationError

from app.protocol.events import (
    Event,
    Finished,
    from_json,
    to_json,
)
from tests.support.events import SAMPLES


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
