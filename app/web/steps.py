"""Prepare one state of a trace for the page: the instruction, the changed registers, the stack, the source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.binary.names import readable
from app.stepper import MachineState, Trace

_AROUND = 3
_LIBRARY = "/library/"


@dataclass(frozen=True)
class Register:
    """A register's name and value; ``changed`` by the previous instruction."""

    name: str
    value: str
    changed: bool


@dataclass(frozen=True)
class SourceLine:
    """A line of the source; ``here``: the next instruction was compiled from it."""

    number: int
    text: str
    here: bool


@dataclass(frozen=True)
class StepView:
    """A state on the page. ``number`` counts from 0; ``back`` and ``on`` are the numbers of its neighbours, if any.

    ``loops``: the next step leads back to an earlier state. ``ends``: there is no next step.
    """

    number: int
    last: int
    state: MachineState
    function: str
    registers: Sequence[Register]
    place: str
    lines: Sequence[SourceLine]
    back: int | None
    on: int | None
    loops: bool
    ends: bool


def step_view(trace: Trace, wanted: int, files: Mapping[str, str]) -> StepView:
    """Return the state of that number, or the nearest one; ``files`` are the crate's, for the source lines."""
    last = len(trace.steps) - 1
    number = min(max(wanted, 0), last)
    state = trace.steps[number]
    before = trace.steps[number - 1].values if number else state.values
    loops = number == last and trace.end.back_to is not None
    return StepView(
        number=number,
        last=last,
        state=state,
        function=readable(state.function) if state.function else "",
        registers=[
            Register(name, value, value != old)
            for name, value, old in zip(trace.registers, state.values, before, strict=False)
        ],
        place=_place(state),
        lines=_lines(state, files),
        back=number - 1 if number else None,
        on=trace.end.back_to if loops else number + 1 if number < last else None,
        loops=loops,
        ends=number == last and trace.end.back_to is None,
    )


def _place(state: MachineState) -> str:
    if state.file is None:
        return ""
    file = state.file.rpartition(_LIBRARY)[2] if _LIBRARY in state.file else state.file
    return f"{file}:{state.line}"


def _lines(state: MachineState, files: Mapping[str, str]) -> Sequence[SourceLine]:
    if state.file is None or state.line is None or state.file not in files:
        return ()
    texts = files[state.file].split("\n")
    first = max(state.line - _AROUND, 1)
    rows = enumerate(texts[first - 1 : state.line + _AROUND - 1], first)
    return [SourceLine(number, text, number == state.line) for number, text in rows]
