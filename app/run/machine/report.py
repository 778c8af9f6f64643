"""Turn the stand-in's report into events. Pure: the bytes of its file in, events out.

The file is in the run's own folder, where the run can write as well. A malformed file is ignored.
"""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from app.protocol.events import Ended, Machine, Screen
from app.run import words

LONGEST = 64 * 1024

_COLUMNS, _ROWS = 80, 25
_CELLS = 4 * _COLUMNS * _ROWS
"""The digits of a screen. As a number of repetitions in the pattern, they would cost 0.3 MB of memory."""
_CONTROL_GLYPHS = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
_GLYPHS = [*_CONTROL_GLYPHS, *bytes(range(0x20, 0x7F)).decode(), "⌂", *bytes(range(0x80, 0x100)).decode("cp437")]
"""The characters that a PC draws, by byte."""

_ABORT = 6


class StandInReport(BaseModel):
    """The content of the stand-in's file; ``ended`` is None while the machine runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    emulator: Annotated[str, StringConstraints(pattern=r"^qemu-system-[a-z0-9_]{2,12}$")]
    ended: Literal["exited", "time", "halted", "off", "reset"] | None
    code: Annotated[int, Field(ge=0, le=255)] | None
    signal: Annotated[int, Field(ge=1, le=127)] | None
    seconds: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False, description="wall-clock time")]
    said: Annotated[str, StringConstraints(max_length=4000)]
    screen: Annotated[str, StringConstraints(pattern="^[0-9a-f]*$", min_length=_CELLS, max_length=_CELLS)] | None
    registers: Annotated[str, StringConstraints(max_length=8000)] | None


def parse(data: bytes) -> StandInReport | None:
    """Parse the stand-in's report; return None if it is malformed."""
    try:
        return StandInReport.model_validate_json(data)
    except ValidationError:
        return None


def screen(report: StandInReport) -> Screen | None:
    """Return the text screen, or None if it is blank."""
    cells = bytes.fromhex(report.screen or "")
    text = "".join(_GLYPHS[byte] for byte in cells[::2])
    if not text.strip():
        return None
    colors = cells[1::2].hex()
    return Screen(
        columns=_COLUMNS,
        rows=_ROWS,
        text=tuple(text[at : at + _COLUMNS] for at in range(0, len(text), _COLUMNS)),
        colors=tuple(colors[at : at + 2 * _COLUMNS] for at in range(0, len(colors), 2 * _COLUMNS)),
    )


def machine(report: StandInReport) -> Machine | None:
    """Return the machine's end, or None while it runs."""
    if report.ended is None:
        return None
    ended = _ended(report)
    return Machine(
        emulator=report.emulator,
        ended=ended,
        exit_code=report.code if ended == "exited" else None,
        seconds=report.seconds,
        meaning=words.MACHINE_ENDS[ended],
        registers=_registers(report),
    )


def _ended(report: StandInReport) -> Ended:
    if report.ended != "exited":
        return report.ended or "exited"
    if report.signal == _ABORT and "Lockup" in report.said:
        return "lockup"
    if report.signal is not None:
        return "crashed"
    # QEMU begins its error messages with its name, in full or not, and exits with 1. A kernel's exit prints nothing.
    complains = re.search(rf"^({report.emulator}|qemu): ", report.said, re.MULTILINE) and report.code == 1
    return "refused" if complains else "exited"


def _registers(report: StandInReport) -> str:
    said = report.said.partition("\n\n")[2] if report.signal == _ABORT else ""
    text = (report.registers or said).strip()
    return "\n".join(line for line in text.splitlines() if not line.startswith("CPU#"))
