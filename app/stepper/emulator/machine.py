"""A program in the memory of an emulated machine, executed instruction by instruction."""

from collections.abc import Iterator, Sequence
from typing import Any

import capstone as cs
import unicorn as uc
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

from .program import MOST_NAMES, UnsupportedProgramError, machine_and_segments, places
from .requests import Effects, EndError, semihosting, system_call

_PAGE = 4096
_STEP_MICROSECONDS = 200_000
_TRANSLATION = 16 * 1024 * 1024
_STACK_TOP = 0x7FFF_FFFF_F000
_STACK = 256 * 1024
_RAM, _RAM_BYTES = 0x2000_0000, 4 * 1024 * 1024
_STACK_WORDS = 8
_MOST_WRITES = 16
_WRITABLE, _READABLE, _EXECUTABLE = 2, 4, 1


def _page_runs(pages: dict[int, int]) -> Iterator[tuple[int, int, int]]:
    """Yield runs of neighbouring pages with the same rights: the first page, the number of pages, the rights."""
    first = count = flags = 0
    for page in sorted(pages):
        if count and page == first + count and pages[page] == flags:
            count += 1
            continue
        if count:
            yield first, count, flags
        first, count, flags = page, 1, pages[page]
    if count:
        yield first, count, flags


class Stepper:
    """Executes one program instruction by instruction."""

    def __init__(self, elf: ELFFile) -> None:
        self.machine, segments = machine_and_segments(elf)
        self.places = places(elf)
        self._thumb = 1 if self.machine.name == "ARM" else 0
        self._uc = uc.Uc(*self.machine.emulator)
        self._uc.ctl_set_tcg_buffer_size(_TRANSLATION)
        self._cs = cs.Cs(*self.machine.decoder)
        self._cs.detail = True
        self._mapped: list[tuple[int, int]] = []
        self._load(elf, segments)
        self._prepare_stack()
        self._set(self.machine.pc, elf["e_entry"])
        self.effects = Effects()
        self.changes = 0
        self._invalid_access: tuple[int, int] | None = None
        self._uc.hook_add(uc.UC_HOOK_MEM_WRITE, self._on_write)
        self._uc.hook_add(uc.UC_HOOK_MEM_INVALID, self._on_invalid)

    def _load(self, elf: ELFFile, segments: Sequence[Any]) -> None:
        pages: dict[int, int] = {}
        for one in segments:
            first, last = one["p_vaddr"] // _PAGE, (one["p_vaddr"] + one["p_memsz"] - 1) // _PAGE
            if last * _PAGE >= _STACK_TOP - _STACK:
                raise UnsupportedProgramError("A segment of this program lies where the stack is.")
            for page in range(first, last + 1):
                pages[page] = pages.get(page, 0) | one["p_flags"] & 7
        if elf["e_type"] == "ET_DYN" and elf["e_entry"] >= _PAGE:
            # A position-independent program is loaded at 0. Its first page stays unmapped to catch null pointers.
            pages.pop(0, None)
        for page, count, flags in _page_runs(pages):
            self._map(page * _PAGE, count * _PAGE, flags)
        for one in segments:
            data, start = one.data()[: one["p_memsz"]], one["p_vaddr"]
            skipped = max(0, _PAGE - start) if elf["e_type"] == "ET_DYN" and 0 not in pages else 0
            if len(data) > skipped:
                self._uc.mem_write(start + skipped, data[skipped:])
        self._relocate(elf)

    def _relocate(self, elf: ELFFile) -> None:
        for section in elf.iter_sections():
            if isinstance(section, RelocationSection) and section.is_RELA() and section.num_relocations() < MOST_NAMES:
                for one in section.iter_relocations():
                    if one["r_info_type"] in (8, 1027):
                        self._uc.mem_write(one["r_offset"], (one["r_addend"] % 2**64).to_bytes(8, "little"))

    def _map(self, start: int, size: int, flags: int) -> None:
        rights = (uc.UC_PROT_READ if flags & _READABLE else 0) | (uc.UC_PROT_WRITE if flags & _WRITABLE else 0)
        self._uc.mem_map(start, size, rights | (uc.UC_PROT_EXEC if flags & _EXECUTABLE else 0))
        self._mapped.append((start, start + size))

    def _prepare_stack(self) -> None:
        if self.machine.linux:
            self._map(_STACK_TOP - _STACK, _STACK, _READABLE | _WRITABLE)
            path = b"./program\0"
            self._uc.mem_write(_STACK_TOP - 32, path)
            top = _STACK_TOP - 256
            words = (1, _STACK_TOP - 32, 0, 0, 0, 0)  # argc, argv[0], and the ends of argv, envp and auxv
            self._uc.mem_write(top, b"".join(word.to_bytes(8, "little") for word in words))
            self._set(self.machine.sp, top)
            return
        if not any(start < _RAM + _RAM_BYTES and end > _RAM for start, end in self._mapped):
            self._map(_RAM, _RAM_BYTES, _READABLE | _WRITABLE)
        top = int.from_bytes(self._uc.mem_read(0, 4), "little") if self._is_mapped(0) else 0
        self._set(self.machine.sp, top if _RAM < top <= _RAM + _RAM_BYTES else _RAM + _RAM_BYTES)

    def _is_mapped(self, address: int) -> bool:
        return any(start <= address < end for start, end in self._mapped)

    def _set(self, name: str, value: int) -> None:
        self._uc.reg_write(self.machine.registers[name], value)

    def _get(self, name: str) -> int:
        return int(self._uc.reg_read(self.machine.registers[name]))

    @property
    def pc(self) -> int:
        """The address of the next instruction."""
        return self._get(self.machine.pc) & ~self._thumb

    def values(self) -> list[int]:
        """Return the values of the machine's registers, in its order."""
        return [self.pc if name == self.machine.pc else self._get(name) for name in self.machine.registers]

    def vectors(self) -> list[int]:
        """Return the values of the vector registers, which are not shown but are part of the state."""
        return [int(self._uc.reg_read(number)) for number in self.machine.wide]

    def stack(self) -> list[tuple[int, int]]:
        """Return the addresses and values of the words at the top of the stack, up to the end of the memory."""
        sp, word = self._get(self.machine.sp), self.machine.word
        found = []
        for address in range(sp, sp + _STACK_WORDS * word, word):
            try:
                found.append((address, int.from_bytes(self._uc.mem_read(address, word), "little")))
            except uc.UcError:
                break
        return found

    def decode_next(self) -> Any:
        """Decode the next instruction; return None if there is none."""
        for size in (16, 8, 4, 2, 1):
            try:
                code = bytes(self._uc.mem_read(self.pc, size))
            except uc.UcError:
                continue
            return next(self._cs.disasm(code, self.pc, 1), None)
        return None

    def step(self, instruction: Any) -> None:
        """Execute one instruction. Raises ``EndError`` if it is the last."""
        self.effects = Effects()
        self._invalid_access = None
        if instruction is not None:
            self._check(instruction)
            if self._answer_request(instruction):
                return
        try:
            self._uc.emu_start(self.pc | self._thumb, 0, timeout=_STEP_MICROSECONDS, count=1)
        except uc.UcError as error:
            raise EndError("fault", self._fault_sentence(error, instruction)) from error

    def _fault_sentence(self, error: uc.UcError, instruction: Any) -> str:
        if self._invalid_access is None:
            return f"The processor does not execute this: {str(error).split('(')[0].strip().lower()}."
        access, address = self._invalid_access
        mapped = self._is_mapped(address)
        if access in (uc.UC_MEM_FETCH_UNMAPPED, uc.UC_MEM_FETCH_PROT) or instruction is None:
            return f"The processor was sent to {address:#x}, where {'no code may be' if mapped else 'no memory is'}."
        what = "writes to" if access in (uc.UC_MEM_WRITE_UNMAPPED, uc.UC_MEM_WRITE_PROT) else "reads"
        why = "which it may not" if mapped else "where no memory is"
        device = "" if self.machine.linux else " On a real board a device could answer there."
        return f"The instruction {what} {address:#x}, {why}.{device}"

    def _check(self, instruction: Any) -> None:
        """Raise ``EndError`` for an instruction that a real processor would refuse but the emulator executes."""
        name = instruction.mnemonic
        if name in ("ud2", "udf", "int3", "brk"):
            raise EndError("fault", f"`{name}` stops the program on purpose.")
        if self.machine.name != "x86-64":
            return
        if name in ("hlt", "cli", "sti", "in", "out", "lgdt", "lidt", "rdmsr", "wrmsr", "iretq", "swapgs"):
            raise EndError("fault", f"Only the kernel may execute `{name}`: Linux ends a program that tries.")
        if name in ("movaps", "movapd", "movdqa", "movntps", "movntdq", "vmovaps", "vmovapd", "vmovdqa"):
            for operand in instruction.operands:
                if operand.type == cs.x86.X86_OP_MEM and self._address(instruction, operand) % min(operand.size, 32):
                    address = self._address(instruction, operand)
                    sentence = f"`{name}` needs an address that is a multiple of {operand.size}, but got {address:#x}."
                    raise EndError("fault", sentence)

    def _address(self, instruction: Any, operand: Any) -> int:
        def value(number: int) -> int:
            name = str(instruction.reg_name(number)) if number else ""
            if name == "rip":
                return self.pc + int(instruction.size)
            return self._get(name) if name in self.machine.registers else 0

        memory = operand.mem
        return (value(memory.base) + value(memory.index) * int(memory.scale) + int(memory.disp)) % 2**64

    def _answer_request(self, instruction: Any) -> bool:
        """Answer a request to the system or a debugger; return False if the instruction is not such a request."""
        match self.machine.name, instruction.mnemonic:
            case "x86-64", "syscall":
                arguments = [self._get(name) for name in ("rdi", "rsi", "rdx")]
                answer = system_call(self.effects, self._memory, self._get("rax"), arguments, exits=(60, 231), write=1)
                self._set("rcx", self.pc + 2)
                self._set("rax", answer % 2**64)
            case "AArch64", "svc":
                arguments = [self._get(name) for name in ("x0", "x1", "x2")]
                answer = system_call(self.effects, self._memory, self._get("x8"), arguments, exits=(93, 94), write=64)
                self._set("x0", answer % 2**64)
            case "ARM", "bkpt":
                self._set("r0", semihosting(self.effects, self._memory, self._get("r0"), self._get("r1")))
            case "ARM", "svc":
                raise EndError("halt", "`svc` calls a system, and there is none on this machine.")
            case "ARM", "wfi" | "wfe":
                self.effects.note = "The processor would wait here; the stepper goes on."
            case _:
                return False
        self._set(self.machine.pc, self.pc + instruction.size)
        return True

    def _memory(self, address: int, size: int) -> bytes | None:
        try:
            return bytes(self._uc.mem_read(address, size))
        except uc.UcError:
            return None

    def _on_write(self, _uc: Any, _access: int, address: int, size: int, value: int, _data: Any) -> None:
        if self._memory(address, size) != (value % 2 ** (8 * size)).to_bytes(size, "little"):
            self.changes += 1
        if len(self.effects.written) < _MOST_WRITES:
            self.effects.written.append((address, size, value % 2 ** (8 * size)))

    def _on_invalid(self, _uc: Any, access: int, address: int, _size: int, _value: int, _data: Any) -> bool:
        self._invalid_access = (access, address)
        return False
