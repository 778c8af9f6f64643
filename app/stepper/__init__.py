"""Steps through the first instructions of a small program, inside the isolation of runs.

The program is executed by Unicorn, an emulator, never by the processor. What comes back is every state up to a bound,
so that going backwards costs no more than going forwards.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import anyio
from pydantic import BaseModel, ConfigDict, ValidationError

from app.protocol.events import Visible
from app.runfiles import in_thread
from app.sandbox import Box, ProgramGoneError, for_python, process, python_folders

MOST_STEPS = 300
"""States of one trace: enough for what the lessons build, and little enough to keep."""

PROGRAM = "program"
"""The name of the program in the folder that a trace is made in."""

_PROGRAM = Path(__file__).parent
_SECONDS = 10.0
_CPU_SECONDS = 2.0
_MEMORY = 200 * 1000 * 1000
_LONGEST = 2 * 1024 * 1024
_GONE = "The program could not be stepped through: it took too long, or too much memory."


class NotSteppedError(Exception):
    """A program that cannot be stepped through; the message is one sentence."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class MachineState(_Frozen):
    """The machine before one instruction.

    ``address`` is the instruction's, as in the file; ``instruction`` is None where none could be read. ``values`` are
    those of the trace's ``registers``, ``stack`` the words from the top of the stack on. ``written`` (address, bytes,
    value), ``output`` and ``note`` tell what the instruction before did.
    """

    address: int
    instruction: str | None
    bytes: str
    function: Visible | None
    offset: int
    file: Visible | None
    line: int | None
    values: tuple[str, ...]
    stack: tuple[tuple[int, str], ...]
    written: tuple[tuple[int, int, str], ...]
    output: str
    note: str


class End(_Frozen):
    """Why there are no more states. ``loops``: after the last state comes ``back_to`` again, and so for ever."""

    kind: Literal["loops", "fault", "exit", "halt", "more"]
    text: str
    back_to: int | None = None


class Trace(_Frozen):
    """Every state of a program from its entry point on; ``word`` is in bytes."""

    machine: str
    registers: tuple[str, ...]
    word: int
    pc: str
    sp: str
    steps: tuple[MachineState, ...]
    end: End


async def trace(box: Box, root: Path) -> Trace:
    """The trace of the file ``PROGRAM`` in the folder ``root``, which is the box's own.

    Raises ``NotSteppedError``.
    """
    tight = replace(box.limits, cpu_seconds=_CPU_SECONDS, memory_bytes=_MEMORY, processes=16)
    folders = python_folders(_PROGRAM)
    kept = for_python(replace(box, limits=tight), folders)
    await in_thread(kept.own, root)
    argv = [sys.executable, "-I", "-B", str(_PROGRAM), str(kept.inside(root) / PROGRAM), str(MOST_STEPS)]
    written = bytearray()
    try:
        with anyio.fail_after(_SECONDS):
            async with process(kept, argv, root, root, {}, folders) as child:
                assert child.process.stdout is not None
                async for data in child.process.stdout:
                    written += data
                    if len(written) > _LONGEST:
                        raise NotSteppedError(_GONE)
                await child.process.wait()
    except (ProgramGoneError, TimeoutError) as error:
        raise NotSteppedError(_GONE) from error
    return _read(bytes(written))


def _read(written: bytes) -> Trace:
    try:
        return Trace.model_validate_json(written)
    except ValidationError:
        pass
    try:
        raise NotSteppedError(_Refused.model_validate_json(written).refused)
    except ValidationError:
        raise NotSteppedError(_GONE) from None


class _Refused(_Frozen):
    refused: str
