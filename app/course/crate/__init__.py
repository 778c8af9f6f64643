"""Facts about the contents of a learner's files. Only advice uses them, never a verdict.

``reading`` parses untrusted files, so only the inspector's worker imports it.
"""

from dataclasses import dataclass
from typing import Literal

MAIN = "src/main.rs"
MANIFEST = "Cargo.toml"
CONFIG = ".cargo/config.toml"
READ = (MAIN, MANIFEST, CONFIG)
"""The files that are read."""

Fault = Literal["colon", "header", "lookalike", "quotes", "twice", "unfinished", "other"]


@dataclass(frozen=True)
class Mark:
    """Something that a file contains: its name, how often, and the line where it stands first (0: not known)."""

    name: str
    line: int
    count: int = 1


@dataclass(frozen=True)
class Source:
    """A Rust file: what it contains, and what its comments contain that would otherwise be code.

    ``syntax_line`` is the line of the first syntax error, 0 for none; ``blank``: nothing but comments and spaces.
    """

    marks: tuple[Mark, ...] = ()
    commented: tuple[Mark, ...] = ()
    syntax_line: int = 0
    blank: bool = False


@dataclass(frozen=True)
class Table:
    """A TOML file: its keys with their tables, and its values as ``key = value``; or the fault that ends its reading.

    ``text`` is the line at fault.
    """

    marks: tuple[Mark, ...] = ()
    fault: Fault | None = None
    line: int = 0
    text: str = ""


@dataclass(frozen=True)
class Lookalike:
    """A character that only looks like another one: its code point, its Unicode name and the one that is meant."""

    file: str
    line: int
    code: str
    name: str
    meant: str


@dataclass(frozen=True)
class CrateFacts:
    """The files that advice asks about; a file that the crate lacks is None."""

    main: Source | None = None
    manifest: Table | None = None
    config: Table | None = None
    lookalike: Lookalike | None = None
