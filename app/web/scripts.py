"""Find the modules that a page's script imports, so that a browser can request all of them at once."""

import re
from collections.abc import Iterator
from pathlib import Path

_IMPORT = re.compile(r'^(?:import|export)\b[^"\n]* from "(\.[^"]+)"', re.MULTILINE)


def imports(folder: Path, script: str) -> tuple[str, ...]:
    """Return the paths below ``folder`` of a script's static imports, direct and indirect, each once.

    Modules that a script loads later with ``import()`` are not needed at first and not included.
    """
    found = dict.fromkeys(_all((folder / script).resolve()))
    return tuple(path.relative_to(folder.resolve()).as_posix() for path in found)


def _all(script: Path) -> Iterator[Path]:
    for name in _IMPORT.findall(script.read_text(encoding="utf-8")):
        module = (script.parent / name).resolve()
        yield module
        yield from _all(module)
