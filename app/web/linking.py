"""A linker's command line, part by part, and who supplies ``_start``. Pure: text in, data out.

rustc quotes the command in a note of its "linking with … failed" message. On that line stands what rustc hands to
the linker or, on most systems, to the C compiler that drives it. What the driver adds by itself does not stand there,
and the usual ``_start`` is among it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_COMMAND = re.compile(r"(?:[A-Z_]+=\"[^\"]*\" )*\"[^\"\n]+\"(?: \"[^\"\n]*\"){3,500}")
_WITH_VALUE = {"-o", "-L", "-l", "-T", "-m", "-e", "-u", "-z", "-flavor", "-arch", "-platform_version"}
# From the beginning of a word only: a message may be one word of a megabyte.
_START_FILE = re.compile(r"(?<![^\s:()'\"])[^\s:()'\"]*/((?:g|r|S)?crt1\.o|crt0\.o)")


@dataclass(frozen=True)
class LinkPart:
    """One word of the command, or an option and its value, and what it is for."""

    text: str
    means: str


@dataclass(frozen=True)
class LinkLine:
    """A linker's command. ``start`` says, in Markdown, who supplies ``_start``."""

    program: str
    parts: tuple[LinkPart, ...]
    start: str


def find_command(notes: Iterable[str]) -> str | None:
    """The note that is a command of the linker, as it stands there; None when there is none."""
    for note in notes:
        if _COMMAND.fullmatch(note.strip()):
            return note.strip()
    return None


def explain(command: str, notes: Iterable[str] = ()) -> LinkLine:
    """What the parts of a linker's command are; ``notes`` are the other words of the same message."""
    words = re.findall(r'(?<![^ ])"([^"]*)"', command)
    parts = tuple(LinkPart(text, _means(text, first=not number)) for number, text in enumerate(_grouped(words)))
    return LinkLine(_name(words[0]), parts, _start(words, "\n".join(notes)))


def _grouped(words: list[str]) -> Iterator[str]:
    rest = iter(words)
    for word in rest:
        yield f"{word} {next(rest, '')}".strip() if word in _WITH_VALUE else word


def _name(program: str) -> str:
    return re.split(r"[/\\]", program)[-1].removesuffix(".exe")


def _is_driver(name: str) -> bool:
    """Whether it is a compiler that calls the linker for us."""
    return bool(re.search(r"(^|-)(cc|gcc|clang|c\+\+|g\+\+)(-[\d.]+)?$", name))


def _means(text: str, *, first: bool) -> str:
    if first:
        return _PROGRAMS["driver" if _is_driver(_name(text)) else "linker"]
    return next(means for pattern, means in _MEANINGS if re.search(pattern, text))


def _start(words: list[str], said: str) -> str:
    name = _name(words[0])
    if any(re.match(r"(/|-)ENTRY:", word, re.IGNORECASE) for word in words):
        return "You: this line names the entry point, and the function of that name is to be in your own code."
    if "link" in name.lower() or name.lower() == "lld-link":
        return "The C runtime of Windows, by the name `mainCRTStartup`, unless `/ENTRY:` names another function."
    if not _is_driver(name):
        return f"Nobody but you: `{name}` is called directly and adds nothing that is not on this line."
    if {"-nostartfiles", "-nostdlib"} & set(words):
        return f"Nobody but you: this line tells `{name}` to leave the start-up objects of the C library out."
    seen = _START_FILE.search(said)
    file = seen[1] if seen else _start_file(words)
    where = f" Here it is `{seen[0]}`: the linker names it below." if seen else ""
    return (
        f"`{file}`, an object file of the C library. It is not on this line: `{name}` adds it by itself, as it "
        f"would for a C program.{where} The `_start` in it calls `__libc_start_main`, and that calls `main`. "
        "`-nostartfiles` keeps it out."
    )


def _start_file(words: list[str]) -> str:
    if "-static-pie" in words:
        return "rcrt1.o"
    return "Scrt1.o" if "-pie" in words else "crt1.o"


_PROGRAMS = {
    "driver": "the C compiler, called only to drive the linker: it knows where the system's linker and libraries are, "
    "and adds the C library's start-up objects",
    "linker": "the linker itself, called without a C compiler around it",
}
_MEANINGS = (
    (r"^-nostartfiles$", "leave the C library's start-up objects out, and with them the usual `_start`"),
    (r"^-nostdlib$", "leave the start-up objects and all standard libraries out"),
    (r"^-nodefaultlibs$", "add no library that is not named here; the start-up objects still come"),
    (r"^-o ", "where the result goes"),
    (r"symbols\.o$", "an object that rustc makes for this link: it names symbols that must not be lost"),
    (r"object files omitted|\.rcgu\.o$|\.o$", "object files: your crate, compiled"),
    (r"\.rlib$|\.rmeta$", "Rust libraries; without `std` only `core` and its helpers are left"),
    (r"^-L ", "a folder to look for libraries in"),
    (r"^-l ?(c|System)$", "the C library"),
    (r"^-l", "a library to link"),
    (r"^-m(64|32)$", "the width of the machine's words"),
    (r"^-(m|arch) ", "the machine to link for"),
    (r"^-Wl,-Bstatic$", "from here on take libraries whole, into the file"),
    (r"^-Wl,-Bdynamic$", "from here on libraries may be loaded at the start of the program"),
    (r"^(-Wl,)?--as-needed$", "note only those libraries that are really used"),
    (r"^(-Wl,)?--gc-sections$", "drop what nothing refers to"),
    (r"eh-frame-hdr", "an index of the tables for unwinding the stack"),
    (r"noexecstack", "the stack must hold no code"),
    (r"relro", "make tables read-only once the program is loaded"),
    (r"^-(static-)?pie$", "make a program that can lie anywhere in memory"),
    (r"^-no-pie$", "make a program for one fixed place in memory"),
    (r"^-static$", "nothing is loaded at the start of the program"),
    (r"^-fuse-ld=", "which linker the driver is to call"),
    (r"^-B", "where the driver finds that linker"),
    (r"^-e |ENTRY:", "the name of the entry point"),
    (r"SUBSYSTEM:", "which part of Windows starts the program"),
    (r"NODEFAULTLIB", "add no library that is not named here"),
    (r"^-T", "a linker script: where each section lies"),
    (r"^-flavor ", "which kind of linker it is to be"),
    (r"^-Wl,|^-z ", "an option that is handed on to the linker"),
    (r"^-[OCg]", "how to optimise, or what to keep for debuggers"),
    (r"", "an option of the linker"),
)
