"""Explain a linker's command line: the meaning of each part, and who supplies ``_start``. Pure: text in, data out.

rustc quotes the command in a note of its "linking with … failed" message. That line contains what rustc passes to the
linker or, on most systems, to the C compiler that drives the linker. It does not contain what the driver adds by
itself, such as the usual ``_start``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from app.web import words

_COMMAND = re.compile(r"(?:[A-Z_]+=\"[^\"]*\" )*\"[^\"\n]+\"(?: \"[^\"\n]*\"){3,500}")
_DRIVER = re.compile(r"(?:^|-)(?:cc|gcc|clang|c\+\+|g\+\+)(?:-[\d.]+)?$")
_WITH_VALUE = {"-o", "-L", "-l", "-T", "-m", "-e", "-u", "-z", "-flavor", "-arch", "-platform_version"}
# Match only at the start of a word: a message may be a single word of a megabyte.
_START_FILE = re.compile(r"(?<![^\s:()'\"])[^\s:()'\"]*/((?:g|r|S)?crt1\.o|crt0\.o)")

PARTS = (
    (r"^-nostartfiles$", "no-start-files"),
    (r"^-nostdlib$", "no-std-lib"),
    (r"^-nodefaultlibs$", "no-default-libs"),
    (r"^-o ", "output"),
    (r"symbols\.o$", "symbols"),
    (r"object files omitted|\.rcgu\.o$|\.o$", "objects"),
    (r"\.rlib$|\.rmeta$", "rust-libraries"),
    (r"^-L ", "library-path"),
    (r"^-l ?(c|System)$", "libc"),
    (r"^-l", "library"),
    (r"^-m(64|32)$", "word-width"),
    (r"^-(m|arch) ", "machine"),
    (r"^-Wl,-Bstatic$", "static-from-here"),
    (r"^-Wl,-Bdynamic$", "dynamic-from-here"),
    (r"^(-Wl,)?--as-needed$", "as-needed"),
    (r"^(-Wl,)?--gc-sections$", "gc-sections"),
    (r"eh-frame-hdr", "eh-frame"),
    (r"noexecstack", "no-exec-stack"),
    (r"relro", "relro"),
    (r"^-(static-)?pie$", "pie"),
    (r"^-no-pie$", "no-pie"),
    (r"^-static$", "static"),
    (r"^-fuse-ld=", "choose-linker"),
    (r"^-B", "linker-path"),
    (r"^-e |ENTRY:", "entry"),
    (r"SUBSYSTEM:", "subsystem"),
    (r"NODEFAULTLIB", "named-only"),
    (r"^-T", "script"),
    (r"^-flavor ", "flavor"),
    (r"^-Wl,|^-z ", "passed-on"),
    (r"^-[OCg]", "optimization"),
    (r"", "other"),
)
"""Patterns of arguments, with the names of their meanings in ``words``. The first match counts; the last matches."""


@dataclass(frozen=True)
class LinkPart:
    """A word of the command, or an option and its value, and its meaning."""

    text: str
    means: str


@dataclass(frozen=True)
class LinkLine:
    """A linker's command. ``start`` says, in Markdown, who supplies ``_start``."""

    program: str
    parts: tuple[LinkPart, ...]
    start: str


def find_command(notes: Iterable[str]) -> str | None:
    """Return the note that is a linker's command, or None if there is none."""
    for note in notes:
        if _COMMAND.fullmatch(note.strip()):
            return note.strip()
    return None


def explain(command: str, notes: Iterable[str] = ()) -> LinkLine:
    """Explain a linker's command; ``notes`` are the notes of the same message, which may name the start file."""
    arguments = re.findall(r'(?<![^ ])"([^"]*)"', command)
    program = re.split(r"[/\\]", arguments[0])[-1].removesuffix(".exe")
    parts = [LinkPart(arguments[0], words.LINKER_DRIVER if _DRIVER.search(program) else words.LINKER)]
    rest = iter(arguments[1:])
    for argument in rest:
        text = f"{argument} {next(rest, '')}".strip() if argument in _WITH_VALUE else argument
        meaning = next(name for pattern, name in PARTS if re.search(pattern, text))
        parts.append(LinkPart(text, words.LINKER_PARTS[meaning]))
    return LinkLine(program, tuple(parts), _start(program, arguments, "\n".join(notes)))


def _start(program: str, arguments: list[str], notes: str) -> str:
    if any(re.match(r"(/|-)ENTRY:", each, re.IGNORECASE) for each in arguments):
        return words.ENTRY_NAMED
    if "link" in program.lower():
        return words.ENTRY_ON_WINDOWS
    if not _DRIVER.search(program):
        return words.entry_without_driver(program)
    if {"-nostartfiles", "-nostdlib"} & set(arguments):
        return words.entry_without_start_files(program)
    if found := _START_FILE.search(notes):
        return words.entry_of_start_file(program, found[1], found[0])
    usual = "rcrt1.o" if "-static-pie" in arguments else "Scrt1.o" if "-pie" in arguments else "crt1.o"
    return words.entry_of_start_file(program, usual, None)
