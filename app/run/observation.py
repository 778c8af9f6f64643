"""What the launcher saw of a program becomes an ``Observed`` event. Pure: a line of JSON in, an event out.

Everything that is said here follows from numbers: the signal and its code, the registers, the bytes at the program
counter, the entry address. The program's source is never looked at.
"""

import signal as signals
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from capstone import CS_ARCH_ARM64, CS_ARCH_X86, CS_MODE_64, CS_MODE_LITTLE_ENDIAN, Cs, CsInsn
from capstone.x86 import X86_OP_MEM
from pydantic import BaseModel, ConfigDict, ValidationError

from app.protocol.events import Observed, Reason

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
"""System calls that small programs make, by number; others are shown by their number."""

_ENTRY_ZERO = (
    "The file's entry address is 0: the linker found no entry point. The system jumped there, where no code is, and "
    "not one instruction of the program was executed."
)
_GENERAL_PROTECTION = 128
_MAPPED_BUT_CLOSED = 2
_MISALIGNED = 1
"""The code of a ``SIGBUS``: on AArch64 of ``pc`` and ``sp``, on x86-64 of any address if the program asked for it."""
_STACK = 7 * 1024 * 1024
_IMAGE = 64 * 1024 * 1024


class _Report(BaseModel):
    """The launcher's line; addresses are those in memory."""

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
    """Why a program ended, in a word and in a sentence."""

    reason: Reason
    detail: str
    places: Mapping[str, Any] = field(default_factory=dict)


def observed(line: bytes, path: str, entry: int | None = None) -> Observed | None:
    """The event for a report on the file ``path``; None when there is no report, or it was cut off.

    ``entry`` is the entry address that the file names, for a report that had no time to read it.
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
    """A report with what follows from it."""

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
                return _Cause("exit", f"It ended by itself, with exit code {self._report.exit_code}.")
        return self._killed()

    def _running(self) -> _Cause:
        report = self._report
        calls = _counted(report.calls)
        if report.state != "R":
            detail = f"It still ran after {report.seconds:.1f} seconds, and waited for the system; it made {calls}."
            return _Cause("waits", detail)
        used = f"{report.cpu_seconds:.1f} of {report.seconds:.1f} seconds of processor time and {calls}"
        places = dict.fromkeys(report.places)
        if not places or len(places) > len(report.places) // 2:
            return _Cause("busy", f"It was still at work when it was ended: {used}.")
        lowest, highest = self._in_file(min(places)), self._in_file(max(places))
        if len(places) == 1:
            where = f"one instruction, at {lowest:#x}, that jumps to itself"
        else:
            where = f"{len(places)} instructions, from {lowest:#x} to {highest:#x}, again and again"
        return _Cause("loops", f"It loops: {where}. Seen were {used}.", {"pc": lowest})

    def _killed(self) -> _Cause:
        report = self._report
        places = {"pc": self._in_file(self._pc), "address": self._in_file(report.address), "instruction": self._words()}
        reason, detail = self._fault() if report.registers else self._from_outside()
        if report.signal not in (signals.SIGSEGV, signals.SIGBUS):
            places["address"] = None
        elif report.code == _GENERAL_PROTECTION:
            places["address"] = self._operand()  # the kernel does not know it then, and says 0
        if reason == "entry-zero":
            places["instruction"] = None  # the file's header lies there, and the launcher's breakpoint in it
        return _Cause(reason, detail, places if report.registers else {})

    def _from_outside(self) -> tuple[Reason, str]:
        return "other-signal", f"It was ended by {_signal(self._report.signal)}, which did not come from its own code."

    def _fault(self) -> tuple[Reason, str]:
        report = self._report
        if report.signal in (signals.SIGILL, signals.SIGTRAP):
            kind = "is there to stop it" if self._stops() else "this processor does not have or does not allow"
            words = f"`{self._words() or '?'}` at {self._at(self._pc)}"
            return "bad-instruction", f"It ran into an instruction that {kind}: {words}."
        if report.signal not in (signals.SIGSEGV, signals.SIGBUS):
            return "other-signal", f"It was ended by {_signal(report.signal)} at {self._at(self._pc)}."
        if report.signal == signals.SIGBUS and report.code == _MISALIGNED:
            return self._alignment_fault()
        return self._segmentation_fault()

    def _segmentation_fault(self) -> tuple[Reason, str]:
        report = self._report
        if report.file_entry == 0 and not report.reached:
            return "entry-zero", _ENTRY_ZERO
        if taken := self._taken_for_the_way_back():
            return "returned", (
                f"Its entry point returned. Nobody had called it, so there was no address to return to: the processor "
                f"took {taken} for one, and jumped to {self._pc:#x}."
            )
        operand = self._operand()
        if operand is not None and report.code == _GENERAL_PROTECTION and operand % 16:
            return "misaligned", (
                f"`{self._words()}` at {self._at(self._pc)} wants an address that can be divided by 16, and got "
                f"{operand:#x}, {operand % 16} too many. The stack does not lie as a called function may expect."
            )
        if report.entry_sp - self._sp > _STACK:
            return "stack-overflow", (
                f"It used up its stack: {(report.entry_sp - self._sp) // 1024} KiB below where it began, at "
                f"{self._at(self._pc)}. A function that calls itself for ever does that."
            )
        if report.address == self._pc:
            why = "holds no code" if report.code == _MAPPED_BUT_CLOSED else "is not there"
            return "jumped-away", f"It jumped to {self._at(self._pc)}, which {why}."
        return "bad-address", self._bad_address(operand)

    def _bad_address(self, operand: int | None) -> str:
        address = operand if operand is not None and self._report.code == _GENERAL_PROTECTION else self._report.address
        why = "which it may not use so" if self._report.code == _MAPPED_BUT_CLOSED else "where there is no memory"
        return f"`{self._words() or '?'}` at {self._at(self._pc)} reached for {self._at(address)}, {why}."

    def _taken_for_the_way_back(self) -> str | None:
        """What a return from the entry point went by, when it was one: on AArch64 a register that begins as 0."""
        report = self._report
        if not report.reached:
            return None
        above = self._sp - report.entry_sp
        if self._machine == "x86-64" and self._pc == report.argc and 0 < above <= 16:
            return "the top of the stack, the number of arguments,"
        if self._machine == "AArch64" and self._pc == self._registers.get("x30") == above == 0:
            return "the register `x30`, in which a call leaves it,"
        return None

    def _alignment_fault(self) -> tuple[Reason, str]:
        aarch64 = self._machine == "AArch64"
        if aarch64 and self._pc % 4:
            return "jumped-away", f"It jumped to {self._at(self._pc)}, where no instruction can begin."
        rule = " On AArch64, `sp` can be divided by 16 whenever memory is used by it." if aarch64 else ""
        return "misaligned", (
            f"`{self._words() or '?'}` at {self._at(self._pc)} works on an address that does not lie as it has to: "
            f"{self._at(self._report.address)}.{rule}"
        )

    def _stops(self) -> bool:
        return self._instruction is not None and self._instruction.mnemonic in ("ud2", "int3", "udf", "brk")

    def _words(self) -> str | None:
        if self._instruction is None:
            return None
        return f"{self._instruction.mnemonic} {self._instruction.op_str}".strip()

    def _operand(self) -> int | None:
        """The address that the instruction works on, when it is one of x86-64 with an operand in memory."""
        if self._instruction is None or self._machine != "x86-64":
            return None
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
        return address - self._base if 0 <= address - self._base < _IMAGE and self._base > 0 else address

    def _at(self, address: int) -> str:
        return f"{self._in_file(address):#x}"


def _untraced(report: _Report, entry: int | None) -> _Cause:
    """What follows from the looks of a parent that may not trace: no place, no registers, no system calls."""
    blind = "This system does not let programs be traced, so that not more can be told."
    if report.outcome == "exited":
        return _Cause("exit", f"It ended by itself, with exit code {report.exit_code}.")
    if report.outcome == "running":
        return _untraced_running(report, blind)
    if report.signal == signals.SIGSEGV and entry == 0:
        return _Cause("entry-zero", _ENTRY_ZERO)
    if report.signal in (signals.SIGSEGV, signals.SIGBUS):
        sentence = "it reached for memory, or jumped to an address, that is not there or that it may not use so."
        return _Cause("bad-address", f"It was ended by {_signal(report.signal)}: {sentence} {blind}")
    if report.signal in (signals.SIGILL, signals.SIGTRAP):
        sentence = "an instruction that is there to stop it, or that this processor does not have or does not allow."
        return _Cause("bad-instruction", f"It was ended by {_signal(report.signal)}: it ran into {sentence} {blind}")
    return _Cause("other-signal", f"It was ended by {_signal(report.signal)}. {blind}")


def _untraced_running(report: _Report, blind: str) -> _Cause:
    if report.state != "R":
        name = _CALLS.get(report.machine, {}).get(report.waits_in or -1, f"call {report.waits_in}")
        where = f", in `{name}`" if report.waits_in is not None else ""
        detail = f"It still ran after {report.seconds:.1f} seconds, and waited for the system{where}."
        return _Cause("waits", f"{detail} {blind}")
    used = f"{report.cpu_seconds:.1f} of {report.seconds:.1f} seconds of processor time"
    if report.waits:
        return _Cause("busy", f"It was still at work when it was ended: {used}. {blind}")
    return _Cause(
        "busy", f"It was still at work when it was ended: {used}, and waited for nothing, as a loop does. {blind}"
    )


def _decode(machine: str, data: str, address: int) -> CsInsn | None:
    modes = {"x86-64": (CS_ARCH_X86, CS_MODE_64), "AArch64": (CS_ARCH_ARM64, CS_MODE_LITTLE_ENDIAN)}
    if machine not in modes or not data:
        return None
    decoder = Cs(*modes[machine])
    decoder.detail = True
    try:
        return next(decoder.disasm(bytes.fromhex(data), address, 1), None)
    except (ValueError, struct.error):
        return None


def _counted(calls: int) -> str:
    return f"{calls or 'no'} system call{'' if calls == 1 else 's'}"


def _signal(number: int | None) -> str:
    try:
        return signals.Signals(number or 0).name
    except ValueError:
        return f"signal {number}"
