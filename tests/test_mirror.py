"""The tests mirror the program: each file names what it tests, and each larger module has a file that tests it."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
LARGE = 100
"""The number of lines from which a module needs a test file."""

WHOLE: Mapping[str, str] = {
    "attacks": "hostile input against the whole program",
    "browser": "the pages in a real browser",
}
"""Folders of tests that need several rooms at once."""

ACROSS: Mapping[str, str] = {
    "test_ci.py": "the Makefile, its shell scripts, .ci/run and the proofs",
    "test_container.py": "the Dockerfile, compose.yaml and deploy/",
    "test_courses.py": "a second course in the engine, the command line and the pages",
    "test_docs.py": "docs/",
    "test_docstrings.py": "the docstrings of every file",
    "test_mirror.py": "the tests themselves",
    "test_names.py": "the source of the whole program",
    "test_operator.py": "an operator's week with real servers",
    "test_openapi.py": "the OpenAPI document of all routes",
    "test_parallel.py": "how the tests are shared out among processes",
    "test_places.py": "the places that docs/architecture.md lists",
    "test_proxy.py": "the proxy configurations in deploy/",
    "test_root_path.py": "every route below a proxy's path",
    "test_routes.py": "the table of all routes",
    "test_wheel.py": "the wheel that pip installs",
}
"""Test files about several rooms, or about files other than Python, each with its subject."""

OVER_HTTP: Mapping[str, str] = {
    "app.web.runs": "test_api.py",
}
"""Large modules that no test imports, and the test file that uses them through a server."""


def modules() -> dict[str, int]:
    """Return each module and room of the program by its dotted name, with its number of lines."""
    found = {}
    for top in ("app", "bench", "tools"):
        for path in (ROOT / top).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = len(path.read_text(encoding="utf-8").splitlines())
    return found


def files() -> list[Path]:
    """Return every test file."""
    return sorted(TESTS.rglob("test_*.py"))


def is_general(path: Path) -> bool:
    """Return True for a test file that is not about one module or room."""
    return path.name in ACROSS or path.relative_to(TESTS).parts[0] in WHOLE


def imported(path: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports; of ``from app.x import y`` both ``app.x`` and ``app.x.y``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)


def rooms(name: str) -> list[str]:
    """Return the packages that a module lies in, below ``app``."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(2, len(parts))]


def is_named_for(path: Path, name: str) -> bool:
    """Return True for ``test_queue.py`` or ``test_queue_bounds.py`` and the module ``app.engine.queue``."""
    subject = path.stem.removeprefix("test_") + "_"
    return subject.startswith(name.rpartition(".")[2] + "_")


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(TESTS)))
def test_a_test_file_is_named_for_what_it_tests(path: Path) -> None:
    named = any(is_named_for(path, name) for name in modules())
    assert named or is_general(path), f"{path.name} names no module; see ACROSS"


def test_every_large_module_has_a_test_file() -> None:
    """A test file counts if it has the module's name, imports it, or has the name of its room."""
    reached = {name for path in files() for name in imported(path)}
    own = [path for path in files() if not is_general(path)]
    large = [name for name, lines in modules().items() if name.startswith("app.") and lines > LARGE]
    untested = {
        name
        for name in large
        if name not in reached and not any(is_named_for(path, room) for path in own for room in (name, *rooms(name)))
    }
    assert untested == OVER_HTTP.keys()


def test_the_lists_of_exceptions_name_what_there_is() -> None:
    names = {str(path.relative_to(TESTS)) for path in files()}
    assert ACROSS.keys() | set(OVER_HTTP.values()) <= names
    assert all((TESTS / folder).is_dir() for folder in WHOLE)


def test_nothing_is_imported_from_a_test_module_or_a_conftest() -> None:
    """Fixtures reach tests by name, from a ``conftest.py``; helpers live in ``tests/support``."""
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted(TESTS.rglob("*.py"))
        for name in imported(path)
        if name.startswith("tests.") and any(part == "conftest" or part.startswith("test_") for part in name.split("."))
    ]
    assert found == []
