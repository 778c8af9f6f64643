"""Which modules a script of the pages imports, so that a browser can ask for all of them at once."""

import re
from collections.abc import Iterator
from pathlib import Path

_IMPORT = re.compile(r'^(?:import|export)\b[^"\n]* from "(\.[^"]+)"', re.MULTILINE)


def imports(folder: Path, script: str) -> tuple[str, ...]:
    """The paths below ``folder`` of what a script there imports as it starts, and of what that imports, each once.

    A script that asks for a module later, by ``import()``, may do without it at first: that one is none of them.
    """
    found = dict.fromkeys(_all((folder / script).resolve()))
    return tuple(path.relative_to(folder.resolve()).as_posix() for path in found)


def _all(script: Path) -> Iterator[Path]:
    for name in _IMPORT.findall(script.read_text(encoding="utf-8")):
        module = (script.parent / name).resolve()
        yield module
        yield from _all(module)
