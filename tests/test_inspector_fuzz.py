"""Mutated ELF, PE and Mach-O files in the inspector: no hang, bounded memory, no crash of the caller."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.binary import BinaryFacts, Card
from app.binary.model import LONGEST_NAME, MOST_NAMES
from app.inspector import _WAIT, UNKNOWN, Inspector
from app.protocol.events import Artifact
from app.settings import Settings
from app.toolchain import Toolchain
from tests.support.damage import BASES, damaged, damages
from tests.support.environment import EVERYTHING, within
from tests.support.inspector import inspecting
from tests.support.programs import (
    BARE,
    card_of,
    compile_with,
    for_macos,
    for_macos_with_lines,
    for_windows,
    for_windows_with_lines,
)

MEMORY_KB = 200_000
EXAMPLES = 150 if EVERYTHING else 60


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """An event loop that runs across all examples."""
    with start_blocking_portal() as opened:
        yield opened


@pytest.fixture(scope="module")
def inspector(portal: BlockingPortal, shipped: Settings) -> Iterator[Inspector]:
    """An inspector in that loop, at the strongest level available."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)
        settings = shipped.model_copy(update={"scratch_dir": Path(folder).resolve() / "scratch"})
        with portal.wrap_async_context_manager(inspecting(settings)) as opened:
            portal.call(opened.warm)
            yield opened


@pytest.fixture(scope="module")
def bases(bare_metal: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    def made(build: Callable[..., bytes], *arguments: str) -> bytes:
        return build(bare_metal, tmp_path_factory.mktemp("base"), *arguments)

    bare = BARE % "_start"
    return {
        "elf-arm": made(compile_with, bare, "-g", "-Cpanic=abort", "--target", "thumbv7em-none-eabihf"),
        "elf-host": made(compile_with, bare, "-g", "-Cpanic=abort", "-Clink-arg=-nostartfiles"),
        "elf-std": made(compile_with, "fn main() {}", "-O"),
        "pe": made(for_windows, "-Clink-arg=/SUBSYSTEM:console"),
        "macho-x86-64": made(for_macos, "x86_64-apple-darwin"),
        "macho-arm64": made(for_macos, "aarch64-apple-darwin"),
    }


@pytest.fixture(scope="module")
def with_lines(bare_metal: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, ...]]:
    """Programs with the companion files that hold their line tables."""

    def folder() -> Path:
        return tmp_path_factory.mktemp("lines")

    return {
        "pe": for_windows_with_lines(bare_metal, folder()),
        "macho-x86-64": for_macos_with_lines(bare_metal, folder(), "x86_64-apple-darwin")[:2],
        "macho-arm64": for_macos_with_lines(bare_metal, folder(), "aarch64-apple-darwin")[:2],
    }


def bounded(facts: BinaryFacts) -> bool:
    names = [*facts.needed, *facts.runtime, facts.interpreter or "", facts.entry_symbol or "", facts.machine]
    return len(facts.needed) <= MOST_NAMES and max(map(len, names)) <= LONGEST_NAME


@pytest.mark.parametrize("base", BASES)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(how=damages())
def test_a_mutated_file_is_read_or_refused(
    portal: BlockingPortal,
    inspector: Inspector,
    bases: dict[str, bytes],
    base: str,
    tmp_path: Path,
    how: list[tuple[str, float, int, int]],
) -> None:
    file = tmp_path / "mutated"
    file.write_bytes(damaged(bases[base], how))
    began = time.monotonic()
    facts: BinaryFacts = portal.call(inspector.facts_of, file)
    card: Card = portal.call(inspector.card_of, file)
    assert within(2 * _WAIT, began)
    if card.facts not in (facts, UNKNOWN):
        facts = portal.call(inspector.facts_of, file)  # on a busy machine, the first look may have run out of time
    assert bounded(facts)
    assert card.facts in (facts, UNKNOWN)
    assert len(card.sections) <= MOST_NAMES + 1
    assert len(card.code.instructions if card.code else ()) <= 64
    assert Artifact(path="x", bytes=1, sha256="0", **vars(facts)).model_dump_json()
    assert inspector.peak_kb < MEMORY_KB


@pytest.mark.parametrize("base", ["pe", "macho-x86-64", "macho-arm64"])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(how=damages())
def test_a_mutated_companion_takes_no_more_than_the_lines(
    portal: BlockingPortal,
    inspector: Inspector,
    with_lines: dict[str, tuple[bytes, ...]],
    base: str,
    tmp_path: Path,
    how: list[tuple[str, float, int, int]],
) -> None:
    file, companion = tmp_path / "fine", tmp_path / "mutated"
    data, beside = with_lines[base]
    file.write_bytes(data)
    companion.write_bytes(damaged(beside, how))
    card: Card = portal.call(inspector.card_of, file, [companion])
    assert card.unread in ((), ("lines",))
    assert card.code
    instructions = tuple(replace(one, file=None, line=None) for one in card.code.instructions)
    assert replace(card, code=replace(card.code, instructions=instructions), unread=()) == card_of(data)
    assert inspector.peak_kb < MEMORY_KB


@pytest.mark.parametrize("magic", [b"\x7fELF\x02\x01\x01", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"])
@settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rest=st.binary(max_size=4096))
def test_noise_after_a_magic_number_is_refused(
    portal: BlockingPortal, inspector: Inspector, magic: bytes, tmp_path: Path, rest: bytes
) -> None:
    file = tmp_path / "noise"
    file.write_bytes(magic + rest)
    portal.call(inspector.card_of, file)
    assert inspector.peak_kb < MEMORY_KB


def test_a_huge_file_of_each_format_is_not_loaded_into_memory(
    portal: BlockingPortal, inspector: Inspector, bases: dict[str, bytes], tmp_path: Path
) -> None:
    for base in ("elf-host", "pe", "macho-arm64"):
        file = tmp_path / base
        file.write_bytes(bases[base])
        with file.open("r+b") as grown:
            grown.truncate(64 * 1024 * 1024)
        assert bounded(portal.call(inspector.facts_of, file))
        assert portal.call(inspector.card_of, file).bytes == 64 * 1024 * 1024
    assert inspector.peak_kb < MEMORY_KB


def test_the_inspector_still_reads_files_after_the_fuzzing(
    portal: BlockingPortal, inspector: Inspector, bases: dict[str, bytes], tmp_path: Path
) -> None:
    file = tmp_path / "fine"
    for base, data in bases.items():
        file.write_bytes(data)
        card: Card = portal.call(inspector.card_of, file)
        assert card.facts.format == {"e": "ELF", "p": "PE", "m": "Mach-O"}[base[0]]
        assert card.unread == ()
