"""What the stand-in wrote becomes events. Pure: the bytes of its file in, events out.

The file lies in the run's own folder, where the run can write too: whatever is not of this shape is ignored.
"""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from app.protocol.events import Ended, Machine, Screen

LONGEST = 64 * 1024

_COLUMNS, _ROWS = 80, 25
_LOW = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
_GLYPHS = [*_LOW, *bytes(range(0x20, 0x7F)).decode(), "⌂", *bytes(range(0x80, 0x100)).decode("cp437")]
"""What the character generator of a PC draws for each byte."""

_ABORT = 6
_MEANINGS: dict[Ended, str] = {
    "lockup": "The processor locked up: it met a fault before any code could deal with it. A Cortex-M processor begins "
    "by reading its first stack pointer and its first address from a table at address 0; without that vector table "
    "it reads zeros there.",
    "refused": "The emulator did not start the machine; what it wants is in its own words above.",
    "time": "The machine still ran when its time was up, as a kernel does, and was switched off.",
    "halted": "The processor sleeps and nothing is left that could wake it, so the machine was switched off.",
    "off": "The kernel switched the machine off.",
    "reset": "The machine began anew: an x86 processor does so when a fault occurs that no handler deals with.",
    "exited": "The kernel ended the emulator, with an exit code of its choice.",
    "crashed": "The emulator itself was ended by a signal.",
}


class StandInReport(BaseModel):
    """The stand-in's file; ``ended`` is None while the machine runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    emulator: Annotated[str, StringConstraints(pattern=r"^qemu-system-[a-z0-9_]{2,12}$")]
    ended: Literal["exited", "time", "halted", "off", "reset"] | None
    code: Annotated[int, Field(ge=0, le=255)] | None
    signal: Annotated[int, Field(ge=1, le=127)] | None
    seconds: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False, description="wall-clock time")]
    said: Annotated[str, StringConstraints(max_length=4000)]
    screen: Annotated[str, StringConstraints(pattern=rf"^[0-9a-f]{{{4 * _COLUMNS * _ROWS}}}$")] | None
    registers: Annotated[str, StringConstraints(max_length=8000)] | None


def parse(data: bytes) -> StandInReport | None:
    """The report; None for what is none."""
    try:
        return StandInReport.model_validate_json(data)
    except ValidationError:
        return None


def screen(report: StandInReport) -> Screen | None:
    """The text screen; None when nothing is on it."""
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
    """How the machine ended; None while it runs."""
    if report.ended is None:
        return None
    ended = _ended(report)
    return Machine(
        emulator=report.emulator,
        ended=ended,
        exit_code=report.code if ended == "exited" else None,
        seconds=report.seconds,
        meaning=_MEANINGS[ended],
        registers=_registers(report),
    )


def _ended(report: StandInReport) -> Ended:
    if report.ended != "exited":
        return report.ended or "exited"
    if report.signal == _ABORT and "Lockup" in report.said:
        return "lockup"
    if report.signal is not None:
        return "crashed"
    # QEMU's own complaints begin with its name, in full or not, and end it with 1; a kernel's code comes without words.
    complains = re.search(rf"^({report.emulator}|qemu): ", report.said, re.MULTILINE) and report.code == 1
    return "refused" if complains else "exited"


def _registers(report: StandInReport) -> str:
    said = report.said.partition("\n\n")[2] if report.signal == _ABORT else ""
    text = (report.registers or said).strip()
    return "\n".join(line for line in text.splitlines() if not line.startswith("CPU#"))
