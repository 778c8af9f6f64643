"""Print a program's states as JSON: a trace in the form of ``app.stepper.Trace``, or ``{"refused": sentence}``."""

import json
import sys
from typing import Any

from elftools.elf.elffile import ELFFile

from .machine import Stepper
from .program import UnsupportedProgramError
from .requests import EndError


def trace(file: Any, most: int) -> dict[str, Any]:
    """Return up to ``most`` states from the entry point on. Raises ``UnsupportedProgramError``."""
    stepper = Stepper(ELFFile(file))
    states: list[dict[str, Any]] = []
    known: dict[tuple[Any, ...], int] = {}
    end: dict[str, Any] = {"kind": "more", "text": f"The stepper stops after {most} steps; the program would go on."}
    while len(states) < most:
        instruction = stepper.decode_next()
        key = (stepper.changes, *stepper.values(), *stepper.vectors())
        if key in known:
            back = known[key]
            count = len(states) - back
            what = "This one instruction is" if count == 1 else f"These {count} instructions are"
            text = f"{what} executed again and again: nothing has changed, so nothing ever will. It loops."
            end = {"kind": "loops", "text": text, "back_to": back}
            break
        known[key] = len(states)
        states.append(_state(stepper, instruction))
        try:
            stepper.step(instruction)
        except EndError as reached:
            end = {"kind": reached.kind, "text": str(reached)}
            break
    names = list(stepper.machine.registers)
    return {"machine": stepper.machine.name, "registers": names, "word": stepper.machine.word} | {
        "pc": stepper.machine.pc,
        "sp": stepper.machine.sp,
        "steps": states,
        "end": end,
    }


def _state(stepper: Stepper, instruction: Any) -> dict[str, Any]:
    pc = stepper.pc
    function, line = stepper.places.function(pc), stepper.places.line(pc)
    return {
        "address": pc,
        "instruction": f"{instruction.mnemonic} {instruction.op_str}".strip() if instruction is not None else None,
        "bytes": bytes(instruction.bytes).hex(" ") if instruction is not None else "",
        "function": function[0] if function else None,
        "offset": function[1] if function else 0,
        "file": line[0] if line else None,
        "line": line[1] if line else None,
        "values": [hex(value) for value in stepper.values()],
        "stack": [(address, hex(value)) for address, value in stepper.stack()],
        "written": [(address, size, hex(value)) for address, size, value in stepper.effects.written],
        "output": stepper.effects.output,
        "note": stepper.effects.note,
    }


def main() -> None:
    """Print the trace of a file, or the reason why there is none."""
    path, most = sys.argv[1], int(sys.argv[2])
    try:
        with open(path, "rb") as file:
            found = trace(file, most)
    except UnsupportedProgramError as refusal:
        found = {"refused": str(refusal)}
    except Exception:
        # The libraries raise various exceptions for a damaged file.
        found = {"refused": "This file is damaged or is not a program that can be stepped through."}
    sys.stdout.write(json.dumps(found))
