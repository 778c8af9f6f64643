"""Docstrings begin with an imperative verb or a noun phrase that says what comes back."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
INDIRECT = ("What", "Whether", "That")


def sources(top: str) -> list[Path]:
    """Return the Python files below a folder, also those without an ending."""
    files = [path for path in (ROOT / top).rglob("*") if path.is_file() and path.suffix in (".py", "")]
    return [path for path in files if path.suffix or "python" in path.read_text(encoding="utf-8").partition("\n")[0]]


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each docstring, those after assignments included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


@pytest.mark.parametrize("top", ["app", "bench", "deploy", "tests", "tools"])
def test_a_docstring_begins_with_a_verb_or_a_noun_phrase(top: str) -> None:
    assert len(sources(top)) > 1
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources(top)
        for line, text in docstrings(path)
        if text.split()[:1] in ([word] for word in INDIRECT)
    ]
    assert found == []
