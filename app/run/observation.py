"""Turn the launcher's report on a program into an ``Observed`` event. Pure: a line of JSON in, an event out.

The reason follows from numbers alone: the signal and its code, the registers, the bytes at the program counter, the
entry address. The program's source is never read. ``words`` has the sentences.
"""

import signal as signals
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from app.protocol.events import Observed, Reason
from app.run import words

if TYPE_CHECKING:
    from capstone import CsInsn

_REGISTERS: Mapping[str, Sequence[str]] = {
    "x86-64": (
        *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"),
        *("orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs", "gs"),
    ),
    "AArch64": (*(f"x{number}" for number in range(31)), "sp", "pc"),
}


def _table(text: str) -> Mapping[int, str]:
    return {int(number): name for number, name in (pair.split(":") for pair in text.split())}


_CALLS: Mapping[str, Mapping[int, str]] = {
    "x86-64": _table(
        "0:read 1:write 2:open 3:close 9:mmap 11:munmap 12:brk 13:rt_sigaction 20:writev 24:sched_yield 34:pause "
        "35:nanosleep 39:getpid 56:clone 57:fork 59:execve 60:exit 62:kill 158:arch_prctl 202:futex "
        "228:clock_gettime 230:clock_nanosleep 231:exit_group 257:openat 271:ppoll 318:getrandom"
    ),
    "AArch64": _table(
        "56:openat 57:close 63:read 64:write 66:writev 73:ppoll 93:exit 94:exit_group 98:futex 101:nanosleep "
        "113:clock_gettime 124:sched_yield 129:kill 172:getpid 214:brk 220:clone 221:execve 222:mmap 278:getrandom"
    ),
}
"""System calls that small programs make, by number. Others are shown by their number."""

_GENERAL_PROTECTION = 128
"""``si_code`` of a ``SIGSEGV`` without an address: SI_KERNEL."""
_MAPPED_BUT_CLOSED = 2
"""``si_code`` of a ``SIGSEGV`` in memory that is mapped without permission for this access: SEGV_ACCERR."""
_MISALIGNED = 1
"""``si_code`` of a ``SIGBUS``: BUS_ADRALN. AArch64 raises it for ``pc`` and ``sp``, x86-64 only on request."""
_STACK = 7 * 1024 * 1024
"""Bytes of used stack from which a fault counts as an overflow; the limit is usually 8 MiB."""
_IMAGE = 64 * 1024 * 1024
"""An address this far above the program's base still counts as one of the file's."""


class _Report(BaseModel):
    """The launcher's line of JSON. Addresses are those in memory, not in the file."""

    model_config = ConfigDict(frozen=True)

    outcome: str
    machine: str
    file_entry: int
    seconds: float
    cpu_seconds: float
    freestanding: bool
    entry: int
    reached: bool
    entry_sp: int
    argc: int
    calls: int
    named: tuple[int, ...]
    state: str = "?"
    places: tuple[int, ...] = ()
    exit_code: int | None = None
    signal: int | None = None
    code: int = 0
    address: int = 0
    bytes: str = ""
    registers: tuple[int, ...] = ()
    traced: bool = True
    waits: int = 0
    waits_in: int | None = None


@dataclass(frozen=True)
class _Cause:
    """The reason why a program ended, the sentence for it, and the event's fields that depend on it."""

    reason: Reason
    detail: str
    places: Mapping[str, Any] = field(default_factory=dict)


def observed(line: bytes, path: str, entry: int | None = None) -> Observed | None:
    """Return the event for a report on the file ``path``, or None if the report is missing or was cut off.

    ``entry`` is the file's entry address, which a report without a trace does not contain.
    """
    try:
        report = _Report.model_validate_json(line)
    except ValidationError:
        return None
    cause = _TracedEnd(report).cause() if report.traced else _untraced(report, entry)
    names = _CALLS.get(report.machine, {})
    return Observed.model_validate(
        {
            "path": path,
            "outcome": report.outcome,
            "reason": cause.reason,
            "detail": cause.detail,
            "seconds": round(report.seconds, 3),
            "cpu_seconds": round(report.cpu_seconds, 3),
            "system_calls": report.calls if report.freestanding and report.traced else None,
            "calls": tuple(names.get(number, f"call {number}") for number in report.named),
            "exit_code": report.exit_code,
            "signal": _signal(report.signal) if report.signal else None,
            **cause.places,
        }
    )


class _TracedEnd:
    """Finds the cause in a report with registers and the instruction at the program counter."""

    def __init__(self, report: _Report) -> None:
        self._report = report
        self._machine = report.machine
        self._base = report.entry - report.file_entry
        self._registers = dict(zip(_REGISTERS.get(report.machine, ()), report.registers, strict=False))
        self._pc = self._registers.get("rip", self._registers.get("pc", 0))
        self._sp = self._registers.get("rsp", self._registers.get("sp", 0))
        self._instruction = _decode(report.machine, report.bytes, self._pc)

    def cause(self) -> _Cause:
        match self._report.outcome:
            case "running":
                return self._running()
            case "exited":
                return _Cause("exit", words.exited(self._report.exit_code))
        return self._killed()

    def _running(self) -> _Cause:
        report = self._report
        if report.state != "R":
            return _Cause("waits", words.waited(report.seconds, report.calls))
        places = dict.fromkeys(report.places)
        # ``places`` are samples of the program counter. A loop visits the same few instructions again and again.
        if not places or len(places) > len(report.places) // 2:
            return _Cause("busy", words.was_busy(report.cpu_seconds, report.seconds, report.calls))
        first = self._in_file(min(places))
        detail = words.looped(
            len(places), f"{first:#x}", self._at(max(places)), report.cpu_seconds, report.seconds, report.calls
        )
        return _Cause("loops", detail, {"pc": first})

    def _killed(self) -> _Cause:
        report = self._report
        if not report.registers:
            return _Cause("other-signal", words.ended_from_outside(_signal(report.signal)))
        reason, detail = self._fault()
        places = {
            "pc": self._in_file(self._pc),
            "address": self._in_file(report.address),
            "instruction": self._instruction_text(),
        }
        if report.signal not in (signals.SIGSEGV, signals.SIGBUS):
            places["address"] = None
        elif report.code == _GENERAL_PROTECTION:
            places["address"] = self._operand()  # the kernel does not know the address and reports 0
        if reason == "entry-zero":
            places["instruction"] = None  # the file's header lies there, and the launcher's breakpoint in it
        return _Cause(reason, detail, places)

    def _fault(self) -> tuple[Reason, str]:
        report, here = self._report, self._at(self._pc)
        if report.signal in (signals.SIGILL, signals.SIGTRAP):
            stops = self._instruction is not None and self._instruction.mnemonic in ("ud2", "int3", "udf", "brk")
            return "bad-instruction", words.bad_instruction(self._instruction_text(), here, stops=stops)
        if report.signal not in (signals.SIGSEGV, signals.SIGBUS):
            return "other-signal", words.ended_by(_signal(report.signal), here)
        if report.signal == signals.SIGBUS and report.code == _MISALIGNED:
            aarch64 = self._machine == "AArch64"
            if aarch64 and self._pc % 4:
                return "jumped-away", words.jumped_off_instruction(here)
            address = self._at(report.address)
            return "misaligned", words.misaligned_access(self._instruction_text(), here, address, aarch64=aarch64)
        return self._segmentation_fault()

    def _segmentation_fault(self) -> tuple[Reason, str]:
        report, here = self._report, self._at(self._pc)
        if report.file_entry == 0 and not report.reached:
            return "entry-zero", words.ENTRY_ZERO
        if returned := self._returned():
            return "returned", returned
        operand = self._operand() if report.code == _GENERAL_PROTECTION else None
        if operand is not None and operand % 16:
            return "misaligned", words.misaligned_operand(self._instruction_text(), here, operand)
        if report.entry_sp - self._sp > _STACK:
            return "stack-overflow", words.stack_overflowed((report.entry_sp - self._sp) // 1024, here)
        mapped = report.code == _MAPPED_BUT_CLOSED
        if report.address == self._pc:
            return "jumped-away", words.jumped_away(here, mapped=mapped)
        address = self._at(report.address if operand is None else operand)
        return "bad-address", words.bad_address(self._instruction_text(), here, address, mapped=mapped)

    def _returned(self) -> str | None:
        """Return a sentence if the entry point executed ``ret``. On AArch64, ``x30`` is 0 at the entry."""
        report = self._report
        if not report.reached:
            return None
        above = self._sp - report.entry_sp
        if self._machine == "x86-64" and self._pc == report.argc and 0 < above <= 16:
            return words.entry_returned_x86_64(f"{self._pc:#x}")
        if self._machine == "AArch64" and self._pc == self._registers.get("x30") == above == 0:
            return words.entry_returned_aarch64(f"{self._pc:#x}")
        return None

    def _instruction_text(self) -> str | None:
        """Return the instruction at the program counter as assembly."""
        if self._instruction is None:
            return None
        return f"{self._instruction.mnemonic} {self._instruction.op_str}".strip()

    def _operand(self) -> int | None:
        """Return the address of the instruction's memory operand on x86-64, or None if it has none."""
        if self._instruction is None or self._machine != "x86-64":
            return None
        from capstone.x86 import X86_OP_MEM  # noqa: PLC0415 - as below

        for operand in self._instruction.operands:
            if operand.type == X86_OP_MEM:
                base, index = (self._register(number) for number in (operand.mem.base, operand.mem.index))
                return int(base + index * operand.mem.scale + operand.mem.disp) % 2**64
        return None

    def _register(self, number: int) -> int:
        assert self._instruction
        if number == 0:
            return 0
        name = self._instruction.reg_name(number)
        return self._pc + self._instruction.size if name == "rip" else self._registers.get(name, 0)

    def _in_file(self, address: int) -> int:
        """Translate an address in memory to the one in the file, if it is in the program."""
        return address - self._base if 0 <= address - self._base < _IMAGE and self._base > 0 else address

    def _at(self, address: int) -> str:
        return f"{self._in_file(address):#x}"


def _untraced(report: _Report, entry: int | None) -> _Cause:
    """Find the cause in a report without a trace, which has no registers, no instruction and no system calls."""
    if report.outcome == "exited":
        return _Cause("exit", words.exited(report.exit_code))
    if report.outcome == "running":
        return _untraced_running(report)
    if report.signal == signals.SIGSEGV and entry == 0:
        return _Cause("entry-zero", words.ENTRY_ZERO)
    name = _signal(report.signal)
    if report.signal in (signals.SIGSEGV, signals.SIGBUS):
        return _Cause("bad-address", words.untraced(words.bad_address_untraced(name)))
    if report.signal in (signals.SIGILL, signals.SIGTRAP):
        return _Cause("bad-instruction", words.untraced(words.bad_instruction_untraced(name)))
    return _Cause("other-signal", words.untraced(words.ended_by_untraced(name)))


def _untraced_running(report: _Report) -> _Cause:
    if report.state == "R":
        detail = words.was_busy_untraced(report.cpu_seconds, report.seconds, waits=bool(report.waits))
        return _Cause("busy", words.untraced(detail))
    call = report.waits_in
    name = None if call is None else _CALLS.get(report.machine, {}).get(call, f"call {call}")
    return _Cause("waits", words.untraced(words.waited_untraced(report.seconds, name)))


def _decode(machine: str, data: str, address: int) -> "CsInsn | None":
    # Most runs are builds. The library takes 6 MB, a sixteenth of the server's memory.
    from capstone import CS_ARCH_ARM64, CS_ARCH_X86, CS_MODE_64, CS_MODE_LITTLE_ENDIAN, Cs  # noqa: PLC0415 - only a crash needs it

    modes = {"x86-64": (CS_ARCH_X86, CS_MODE_64), "AArch64": (CS_ARCH_ARM64, CS_MODE_LITTLE_ENDIAN)}
    if machine not in modes or not data:
        return None
    decoder = Cs(*modes[machine])
    decoder.detail = True
    try:
        return next(decoder.disasm(bytes.fromhex(data), address, 1), None)
    except (ValueError, struct.error):
        return None


def _signal(number: int | None) -> str:
    try:
        return signals.Signals(number or 0).name
    except ValueError:
        return f"signal {number}"
