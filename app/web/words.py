"""Sentences and labels that the web's Python shows to people. Pure: a translation replaces this module.

Refusals are in ``problem``, and everything else is in the templates.
"""

from collections.abc import Iterable

from app.course.startup import LINKS, Startup
from app.room.view import Cell

# The events of ``versions`` in the sentence "Your text from before … is saved." The database stores these words.
RAN_ELSEWHERE = "you ran other files in another tab"
RESET = "you took the files of the step"
CARRIED = "you brought your files along"
TOOK_OFFER = "you took what the text offers"
TOOK_LINK = "you took the files of a link"
INSERTED = "you inserted code from the text"
APPLIED_SOLUTION = "you applied the solution"
ACCEPTED_EDIT = "you accepted the changes of a tool"
TOOK_SNIPPET = "you took the instructor's snippet"
IMPORTED_PROGRESS = "you imported your progress"

RATES = {
    "runs": "runs",
    "imports": "imports of progress",
    "changes": "changes",
    "streams": "event streams",
    "reads": "requests",
}
"""The requests that a rate counts, in the plural."""

ATTEMPTS = "attempts"
"""Keys and codes that were tried, in the plural."""

FORGOTTEN = "All data stored about you has been deleted."
WARMING = "the first run is being prepared; ready in a few seconds"
NOTHING_IMPORTED = "The file has no progress in a step that this playground has, so nothing was added."

LIST_ENDS = "The list ends here."
TERMINAL_ENDS = "The page shows no more of the output."
WHOLE_OUTPUT = "Show the whole output"

FROM_THE_POST = "from the time of the post"
OBSERVED = "as the playground observed it"

SECTION_KINDS = {
    "code": "machine code",
    "constants": "constants",
    "data": "variables",
    "loader": "tables for the loader",
    "names": "names",
    "debug": "debug information",
    "other": "headers and gaps",
}
CARD_PARTS = {
    "sections": "the sections",
    "symbols": "the symbols",
    "code": "the code",
    "lines": "the source lines",
    "calls": "the calls before main",
}

LINKER_DRIVER = (
    "the C compiler, called only to drive the linker: it knows where the system's linker and libraries are, "
    "and adds the C library's start-up objects"
)
LINKER = "the linker itself, called without a C compiler around it"
LINKER_PARTS = {
    "no-start-files": "leave out the C library's start-up objects, and with them the usual `_start`",
    "no-std-lib": "leave out the start-up objects and all standard libraries",
    "no-default-libs": "add only libraries that are named here; the start-up objects are still added",
    "output": "the output file",
    "symbols": "an object file that rustc creates for this link; it names symbols that must be kept",
    "objects": "object files: your crate, compiled",
    "rust-libraries": "Rust libraries; without `std` only `core` and its helpers are left",
    "library-path": "a folder in which to look for libraries",
    "libc": "the C library",
    "library": "a library to link",
    "word-width": "the width of the machine's words",
    "machine": "the machine to link for",
    "static-from-here": "from here on, copy libraries into the file",
    "dynamic-from-here": "from here on, libraries may be loaded when the program starts",
    "as-needed": "record only libraries that the program really uses",
    "gc-sections": "drop sections that nothing refers to",
    "eh-frame": "add an index of the tables for unwinding the stack",
    "no-exec-stack": "the stack must not contain code",
    "relro": "make tables read-only once the program is loaded",
    "pie": "make a program that works at any address in memory",
    "no-pie": "make a program for one fixed address in memory",
    "static": "link statically: load no library when the program starts",
    "choose-linker": "the linker that the driver should call",
    "linker-path": "where the driver finds that linker",
    "named-only": "add only libraries that are named here",
    "entry": "the name of the entry point",
    "subsystem": "the part of Windows that starts the program",
    "script": "a linker script, which places the sections",
    "flavor": "the kind of linker to imitate",
    "passed-on": "an option that is passed on to the linker",
    "optimization": "how to optimize, or what to keep for debuggers",
    "other": "an option of the linker",
}
"""The meaning of a linker's arguments in Markdown, by the names that ``linking`` gives them."""

STARTUP_LINKS = {
    "loader": (
        "loader",
        "the program of the system that loads shared libraries into memory and then jumps to the entry point",
    ),
    "start-file": ("_start", "the entry point in the start-up file of the C library, `crt1.o` or `Scrt1.o`"),
    "c-runtime": ("C runtime", "`__libc_start_main` of the C library, which prepares it and calls `main`"),
    "main": ("main", "the C function `main`, which the compiler writes for a program with `fn main`"),
    "rust-runtime": ("lang_start", "the runtime in the standard library of Rust, which calls your `fn main`"),
}
"""The name and the meaning, in Markdown, of each link between the system and the learner's code."""

ENTRY_NAMED = "You: this command names the entry point, and your own code must define the function of that name."
ENTRY_ON_WINDOWS = "The C runtime of Windows, under the name `mainCRTStartup`, unless `/ENTRY:` names another function."


def imported(steps: int) -> str:
    """Return the answer to an import that had something on this number of steps."""
    return f"Your progress in {count(steps, 'step')} was added to what was here." if steps else NOTHING_IMPORTED


def count(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 second``, ``2 seconds``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def entry_without_driver(linker: str) -> str:
    """Return who supplies ``_start`` when the linker is called directly."""
    return f"Only you: `{linker}` is called directly and adds nothing that is not in this command."


def entry_without_start_files(driver: str) -> str:
    """Return who supplies ``_start`` when the driver leaves the start-up objects out."""
    return f"Only you: this command tells `{driver}` to leave out the C library's start-up objects."


def entry_of_start_file(driver: str, file: str, path: str | None) -> str:
    """Return who supplies ``_start`` in a usual link; ``path`` is the start file's if the linker named it."""
    here = f" Here it is `{path}`, which the linker names below." if path else ""
    return (
        f"`{file}`, an object file of the C library. It is not in this command: `{driver}` adds it by itself, as it "
        f"would for a C program.{here} Its `_start` calls `__libc_start_main`, which calls `main`. "
        "`-nostartfiles` leaves it out."
    )


def footer_toolchain(name: str | None) -> str:
    """Return the footer's words about the default toolchain, None if there is none."""
    return f"Rust {name}" if name else "no Rust toolchain"


def compared_with(size: int, other: int) -> str:
    """Return how a size compares with another, to go before that one's name: ``12% of``; empty if either is 0."""
    if not other or not size:
        return ""
    if size > 0.8 * other:
        return "about as large as" if size < 1.25 * other else "larger than"
    return f"{size / other:.0%} of" if size > 0.1 * other else f"1/{round(other / size):,} of"


def chain_in_words(startup: Startup) -> str:
    """Return what is known of the binary and of what runs before the learner's code, as sentences."""
    size = (
        f"Your binary has {count(startup.bytes or 0, 'byte')}."
        if startup.built
        else "Your latest build made no binary."
    )
    here = ", ".join(STARTUP_LINKS[link][0] for link in startup.links) or "nothing"
    gone = ", ".join(STARTUP_LINKS[link][0] for link in LINKS if link not in startup.links)
    return f"{size} Before your code: {here}." + (f" Gone: {gone}." if gone else "")


def same_as(age: int) -> str:
    """Return what the page says of a run that was answered like one that ended ``age`` seconds before."""
    for seconds, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if age >= seconds:
            return f"Same as a run {count(age // seconds, unit)} ago."
    return "Same as a run a moment ago."


def file_size(number: int) -> str:
    """Return a number of bytes for people."""
    return count(number, "byte") if number < 10_000 else f"{number / 1024:,.0f} KiB"


def recording_of(compilers: Iterable[str]) -> str:
    """Return the heading of a recording that these compilers share."""
    return f"Rust {' and '.join(compilers)}"


def recording_label(compilers: Iterable[str], command: str, *, observed: bool) -> str:
    """Return a recording's label for screen readers; ``observed``: its text is the playground's observation."""
    heading = recording_of(compilers)
    return f"{heading}: what was observed of {command}" if observed else f"{heading}: what {command} prints"


def readme(title: str, goal: str, source: str, targets: Iterable[str], commands: Iterable[str]) -> str:
    """Return the README of an exported crate; ``source`` is the post, ``targets`` are commands that install targets."""
    once = "".join(f"    {each}\n" for each in targets)
    run = "".join(f"    {each}\n" for each in commands)
    return (
        f"# {title}\n\nThe goal: {goal}\n\nA step of {source}.\n\n"
        + (f"Once, if your toolchain does not have the target yet:\n\n{once}\n" if once else "")
        + f"In this folder, run:\n\n{run}"
    )


def script_title(title: str, post: str, crate: str) -> tuple[str, str]:
    """Return the first comments of an exported script."""
    return f"{title}, after {post}", f"Creates the crate in a new folder, {crate}, and runs the command."


def script_target(command: str) -> str:
    """Return an exported script's comment about a target that the toolchain may lack."""
    return f"Once, if your toolchain does not have it: {command}"


def storage_fails(error: Exception) -> str:
    """Return the state of the storage in ``/readyz`` when it cannot be written."""
    return f"progress cannot be written: {error}"


def figures(here: int, not_begun: int, stuck: int, hands: int, queued: float | None) -> str:
    """Return the line of figures above the class map. ``queued`` is how many seconds the latest run had to wait."""
    raised = f"{count(hands, 'hand')} raised"
    waited = () if queued is None else (f"queue {queued:.1f} s",)
    return " · ".join((f"{here} here", f"{not_begun} not begun", f"{stuck} stuck", raised, *waited))


def cell_words(cell: Cell) -> str:
    """Return what a screen reader says for a cell of the class map, which shows signs."""
    missed = "" if cell.reached or not cell.dots else f"{'more than ' if cell.more else ''}{cell.dots} missed"
    solution = "solution open" if cell.solution else ""
    words = ("reached" if cell.reached else "", missed, solution, "is here" if cell.current else "")
    return ", ".join(each for each in words if each)


def class_news(stuck: int, hands: int) -> str:
    """Return what a screen reader tells the instructor when it changes."""
    return f"{count(hands, 'hand')} raised, {count(stuck, 'learner')} stuck"
