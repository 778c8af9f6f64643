"""Sentences that a run says to people. The code that decides which one applies is elsewhere.

``Observed.detail`` and ``Machine.meaning`` are part of the recordings: after a change of their words, run
``playground lessons check --record``.
"""

from collections.abc import Mapping

from app.protocol.events import Ended

# The runner.

TARGET_ORIGINS: Mapping[str, str] = {
    "shipped": "it came with the compiler",
    "rustup": "rustup installed it",
    "built": "its core was built here from the compiler's own sources, which is what rustup would have downloaded",
    "distribution": "it came as a package",
}


def in_the_way(path: str) -> str:
    """Explain why the artifact of an earlier run cannot be placed."""
    return f"The earlier run put {path!r} where this crate has a file, so it cannot be looked at; build it again."


def timed_out(seconds: float) -> str:
    """Explain that the run's timeout ended it."""
    return f"The run was ended here: it took more than {seconds:g} seconds."


def stopped_on_purpose(seconds: float) -> str:
    """Explain that the playground stops a program that does not end by itself."""
    return f"It still ran after {seconds:g} seconds and was ended here, on purpose."


def cannot_start(reason: str) -> str:
    """Explain that the command's program could not be started."""
    return f"{reason}. The operator of this playground can see more with playground doctor."


def component_missing(component: str, toolchain: str) -> str:
    """Explain that Clippy or rustfmt is not installed for the chosen compiler."""
    return (
        f"Rust {toolchain} is installed without {component}. Choose another compiler, or have the operator of this "
        "playground run playground setup."
    )


def built_elsewhere(path: str, built: str) -> str:
    """Explain that the last build put its program somewhere else."""
    return f"There is no {path}: the last build put its program into {built}."


NOTHING_TO_FORMAT = "Nothing to change: the code is formatted already.\n"

# Answers to ``rustup target``.


def target_ready(triple: str, toolchain: str, origin: str) -> str:
    """Answer ``rustup target add`` for a target that is installed."""
    return f"{triple} is ready for {toolchain}: {TARGET_ORIGINS[origin]}."


def target_unknown(triple: str, toolchain: str) -> str:
    """Answer ``rustup target add`` for a target that the compiler does not know."""
    return f"error: {toolchain} knows no target {triple}; rustup target list shows all."


def target_not_installed(triple: str, toolchain: str) -> str:
    """Answer ``rustup target add`` for a target that only the operator can install."""
    return (
        f"error: {triple} is not installed for {toolchain}, and a learner cannot install targets here. "
        f"The operator of this playground can: playground setup --target {triple}"
    )


# ``Machine.meaning``: how an emulated machine ended.

MACHINE_ENDS: Mapping[Ended, str] = {
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

# ``Observed.detail``: how a program ran and ended. Places and instructions come as text, as in the file.

ENTRY_ZERO = (
    "The file's entry address is 0: the linker found no entry point. The system jumped there, where no code is, and "
    "not one instruction of the program was executed."
)
NOT_TRACED = "This system does not let programs be traced, so that not more can be told."


def exited(exit_code: int | None) -> str:
    """Say that the program ended by itself."""
    return f"It ended by itself, with exit code {exit_code}."


def waited(seconds: float, calls: int) -> str:
    """Say that the program was waiting in the kernel when it was stopped."""
    return f"It still ran after {seconds:.1f} seconds, and waited for the system; it made {_system_calls(calls)}."


def waited_untraced(seconds: float, call: str | None) -> str:
    """Say the same of a program that was not traced; ``call`` is the system call that it waited in."""
    where = f", in `{call}`" if call else ""
    return f"It still ran after {seconds:.1f} seconds, and waited for the system{where}."


def was_busy(cpu_seconds: float, seconds: float, calls: int) -> str:
    """Say that the program was executing instructions when it was stopped."""
    return f"It was still at work when it was ended: {_used(cpu_seconds, seconds)} and {_system_calls(calls)}."


def was_busy_untraced(cpu_seconds: float, seconds: float, *, waits: bool) -> str:
    """Say the same of a program that was not traced; ``waits``: it also waited in the kernel at times."""
    more = "" if waits else ", and waited for nothing, as a loop does"
    return f"It was still at work when it was ended: {_used(cpu_seconds, seconds)}{more}."


def looped(instructions: int, first: str, last: str, cpu_seconds: float, seconds: float, calls: int) -> str:
    """Say that the program repeated a few instructions for as long as it was watched."""
    if instructions == 1:
        where = f"one instruction, at {first}, that jumps to itself"
    else:
        where = f"{instructions} instructions, from {first} to {last}, again and again"
    return f"It loops: {where}. Seen were {_used(cpu_seconds, seconds)} and {_system_calls(calls)}."


def bad_instruction(instruction: str | None, place: str, *, stops: bool) -> str:
    """Say that an instruction trapped; ``stops``: it exists to do that."""
    kind = "is there to stop it" if stops else "this processor does not have or does not allow"
    return f"It ran into an instruction that {kind}: `{instruction or '?'}` at {place}."


def ended_by(signal: str, place: str) -> str:
    """Say that a signal without an explanation of its own ended the program at an instruction."""
    return f"It was ended by {signal} at {place}."


def ended_from_outside(signal: str) -> str:
    """Say that another process sent the signal."""
    return f"It was ended by {signal}, which did not come from its own code."


def entry_returned_x86_64(target: str) -> str:
    """Say that the entry point executed ``ret``, which took its address from the stack."""
    return _entry_returned("the top of the stack, the number of arguments,", target)


def entry_returned_aarch64(target: str) -> str:
    """Say that the entry point executed ``ret``, which took its address from ``x30``."""
    return _entry_returned("the register `x30`, in which a call leaves it,", target)


def _entry_returned(taken: str, target: str) -> str:
    return (
        f"Its entry point returned. Nobody had called it, so there was no address to return to: the processor "
        f"took {taken} for one, and jumped to {target}."
    )


def misaligned_operand(instruction: str | None, place: str, operand: int) -> str:
    """Say that an SSE instruction got an address that is not a multiple of 16."""
    return (
        f"`{instruction}` at {place} wants an address that can be divided by 16, and got "
        f"{operand:#x}, {operand % 16} too many. The stack does not lie as a called function may expect."
    )


def misaligned_access(instruction: str | None, place: str, address: str, *, aarch64: bool) -> str:
    """Say that the kernel sent ``SIGBUS`` for an address that is not aligned."""
    rule = " On AArch64, `sp` can be divided by 16 whenever memory is used by it." if aarch64 else ""
    return f"`{instruction or '?'}` at {place} works on an address that does not lie as it has to: {address}.{rule}"


def jumped_off_instruction(place: str) -> str:
    """Say that the program counter is not a multiple of four on AArch64."""
    return f"It jumped to {place}, where no instruction can begin."


def stack_overflowed(kib: int, place: str) -> str:
    """Say that the stack pointer is far below where it began."""
    return (
        f"It used up its stack: {kib} KiB below where it began, at {place}. A function that calls itself for ever "
        "does that."
    )


def jumped_away(place: str, *, mapped: bool) -> str:
    """Say that the program counter points at memory that cannot be executed."""
    return f"It jumped to {place}, which {'holds no code' if mapped else 'is not there'}."


def bad_address(instruction: str | None, place: str, address: str, *, mapped: bool) -> str:
    """Say that an instruction accessed memory that it may not access."""
    why = "which it may not use so" if mapped else "where there is no memory"
    return f"`{instruction or '?'}` at {place} reached for {address}, {why}."


def bad_address_untraced(signal: str) -> str:
    """Say what ``SIGSEGV`` or ``SIGBUS`` means where nothing else is known."""
    return (
        f"It was ended by {signal}: it reached for memory, or jumped to an address, that is not there or that it may "
        "not use so."
    )


def bad_instruction_untraced(signal: str) -> str:
    """Say what ``SIGILL`` or ``SIGTRAP`` means where nothing else is known."""
    return (
        f"It was ended by {signal}: it ran into an instruction that is there to stop it, or that this processor does "
        "not have or does not allow."
    )


def ended_by_untraced(signal: str) -> str:
    """Say which other signal ended the program."""
    return f"It was ended by {signal}."


def untraced(sentence: str) -> str:
    """Add to a sentence the reason why it does not say more."""
    return f"{sentence} {NOT_TRACED}"


def _used(cpu_seconds: float, seconds: float) -> str:
    return f"{cpu_seconds:.1f} of {seconds:.1f} seconds of processor time"


def _system_calls(count: int) -> str:
    return f"{count or 'no'} system call{'' if count == 1 else 's'}"
