"""Step through the first instructions of a small program, inside the isolation of runs.

Unicorn, an emulator, executes the program, never the processor. A trace holds every state up to a bound, so a step
backwards costs no more than a step forwards.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import anyio
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from app.protocol.events import Visible
from app.runfiles import in_thread
from app.sandbox import Box, ProgramGoneError, for_python, process, python_folders

MOST_STEPS = 300
"""The most states of one trace: enough for the lessons' programs, and few enough to store."""

PROGRAM = "program"
"""The name of the program in the folder of a trace."""

_PROGRAM = Path(__file__).parent
_SECONDS = 10.0
_CPU_SECONDS = 2.0
_MEMORY = 200 * 1000 * 1000
_LONGEST = 2 * 1024 * 1024
_GONE = "The program could not be stepped through: it took too long, or too much memory."


class NotSteppedError(Exception):
    """The program cannot be stepped through; the message is one sentence."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class MachineState(_Frozen):
    """The state of the machine before one instruction.

    ``address`` is the instruction's address in the file; ``instruction`` is None if none could be decoded. ``values``
    are the values of the trace's ``registers``; ``stack`` has the words at the top of the stack. ``written`` (address,
    bytes, value), ``output`` and ``note`` are the effects of the previous instruction.
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
    """The reason why a trace ends. After ``loops``, the states repeat forever from the number ``back_to`` on."""

    kind: Literal["loops", "fault", "exit", "halt", "more"]
    text: str
    back_to: int | None = None


class Trace(_Frozen):
    """The states of a program from its entry point on. ``word`` is the size of a word in bytes."""

    machine: str
    registers: tuple[str, ...]
    word: int
    pc: str
    sp: str
    steps: tuple[MachineState, ...]
    end: End


class _Refused(_Frozen):
    refused: str


_ANSWER: TypeAdapter[Trace | _Refused] = TypeAdapter(Trace | _Refused)


async def trace(box: Box, root: Path) -> Trace:
    """Trace the file ``PROGRAM`` in the folder ``root``, which only this box uses. Raises ``NotSteppedError``."""
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
    try:
        answer = _ANSWER.validate_json(bytes(written))
    except ValidationError:
        raise NotSteppedError(_GONE) from None
    if isinstance(answer, _Refused):
        raise NotSteppedError(answer.refused)
    return answer
