"""A learner's own progress as one JSON document, which another playground can take over.

It holds current texts, reached steps, opened hints and predictions by lesson key, and nothing that names the seat. A
document comes from strangers, so the types bound it and the caller checks it against its lessons.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

_Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._+-]{1,100}$")]


def _past(at: datetime) -> datetime:
    """Return the time in UTC, or now for one in the future, which would keep a seat from ever being too old."""
    try:
        return min(at.astimezone(UTC), datetime.now(UTC))
    except OverflowError:
        raise ValueError("a time that UTC cannot express") from None


_Past = Annotated[AwareDatetime, AfterValidator(_past)]
_MOST_LESSONS = 500
_MOST_FILES = 50


def _at_most(most: int) -> BeforeValidator:
    """Return a validator that counts entries first: ``max_length`` counts them after each invalid one cost an error."""

    def few(entries: object) -> object:
        if isinstance(entries, dict) and len(entries) > most:
            raise ValueError(f"there are more than {most} entries")
        return entries

    return BeforeValidator(few)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class PortableReached(_Frozen):
    """When the goal was reached, and with which toolchain."""

    at: _Past
    toolchain: _Word


class PortablePrediction(_Frozen):
    """The chosen option, and what happened according to a run of ``toolchain``."""

    choice: _Word
    happened: _Word | None = None
    toolchain: _Word | None = None


class PortableLesson(_Frozen):
    """The progress in one lesson."""

    files: Annotated[dict[str, str], _at_most(_MOST_FILES)] = Field(default_factory=dict)
    reached: PortableReached | None = None
    opened: int = Field(0, ge=0, le=1000)
    prediction: PortablePrediction | None = None


class PortableProgress(_Frozen):
    """The whole document; ``lessons`` is by lesson key."""

    format: Literal["freestanding-playground-progress"] = "freestanding-playground-progress"
    version: Literal[1] = 1
    lessons: Annotated[dict[str, PortableLesson], _at_most(_MOST_LESSONS)]
