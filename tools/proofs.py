#!/usr/bin/env python3
"""Run a proof that is too long for CI and write its result into docs/proofs.md: `tools/proofs.py NAME COMMAND…`.

The result is the last line of the command's output. A row is also written if the command fails.
"""

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROOFS = ROOT / "docs/proofs.md"


def main() -> None:
    """Run the command; the exit code is the command's."""
    match sys.argv[1:]:
        case [name, *command] if command:
            began = time.monotonic()
            last, code = follow(command)
            took = f"{time.monotonic() - began:,.0f} s"
            record(PROOFS, name, [today(), f"`{commit(ROOT)}`", "ok" if code == 0 else f"exit code {code}", last, took])
            sys.exit(code)
        case _:
            sys.exit(str(__doc__))


def follow(command: list[str]) -> tuple[str, int]:
    """Run a command and show its output; return the last line and the exit code."""
    last = ""
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip(" =\n") or last
    return last, process.returncode


def today() -> str:
    """Return the date in UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def commit(checkout: Path) -> str:
    """Return the checked-out commit, with a mark if files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()


def record(page: Path, name: str, cells: list[str]) -> None:
    """Replace the row of this name in the page's table, or add one at its end."""
    row = f"| {' | '.join([name, *(cell.replace('|', '¦') for cell in cells)])} |"
    lines = [line for line in page.read_text().splitlines() if not line.startswith(f"| {name} |")]
    head = next(number for number, line in enumerate(lines) if line.startswith("|---"))
    end = next(number for number in range(head, len(lines) + 1) if number == len(lines) or not lines[number])
    lines.insert(end, row)
    page.write_text("\n".join(lines) + "\n")
    print(row, file=sys.stderr)


if __name__ == "__main__":
    main()
