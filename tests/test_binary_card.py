"""The card of a binary, read from real files: sections, symbols, code with source lines, the call chain."""

import io
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import pytest

from app.binary import Card, model
from app.binary.differences import by_kind, compared
from app.binary.lines import within
from app.binary.reading import drafts, examine
from app.toolchain import Toolchain
from tests.support.programs import (
    BARE,
    card_of,
    compile_with,
    for_macos,
    for_macos_with_lines,
    for_windows,
    for_windows_with_lines,
)

HELLO = 'fn main() {\n    println!("hi");\n}\n'
START_LINE = 3
FOREIGN_LINE = 7
FOREIGN_LOOP = {"x86-64": ("eb00", "ebfe"), "AArch64": ("01000014", "00000014")}


def places(card: Card) -> set[tuple[str | None, int | None]]:
    return {(one.file, one.line) for one in (card.code.instructions if card.code else ())}


@pytest.fixture(scope="module")
def std(bare_metal: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Card:
    return card_of(compile_with(bare_metal, tmp_path_factory.mktemp("std"), HELLO, "-g"))


@pytest.fixture(scope="module")
def bare(bare_metal: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Card:
    flags = ("-g", "-Cpanic=abort", "--target", "thumbv7em-none-eabihf")
    return card_of(compile_with(bare_metal, tmp_path_factory.mktemp("bare"), BARE % "_start", *flags))


@pytest.fixture(scope="module")
def own(bare_metal: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Card:
    """A freestanding program for the host."""
    flags = ("-g", "-Cpanic=abort", "-Clink-arg=-nostartfiles")
    return card_of(compile_with(bare_metal, tmp_path_factory.mktemp("own"), BARE % "_start", *flags))


def test_every_byte_of_the_file_is_of_some_kind(std: Card, bare: Card, own: Card) -> None:
    for card in (std, bare, own):
        assert card.unread == ()
        assert by_kind(card).total() == card.bytes
        assert {"code", "debug", "names"} <= by_kind(card).keys()
    assert by_kind(std)["code"] > 200_000
    assert 100 > by_kind(bare)["code"] > 0


def test_the_bare_metal_binary_has_one_name_and_a_loop(bare: Card) -> None:
    assert bare.symbols
    assert (bare.symbols.defined, bare.symbols.undefined, bare.symbols.names) == (1, 0, ("_start",))
    assert bare.code
    assert bare.code.symbol == "_start"
    last = bare.code.instructions[-1]
    assert last.text == f"b #{last.address:#x}"
    assert {one.line for one in bare.code.instructions} == {START_LINE}
    assert {one.file for one in bare.code.instructions} == {"main.rs"}


def test_the_start_of_a_std_program_leads_to_the_c_runtime(std: Card) -> None:
    assert std.code
    assert std.code.symbol == "_start"
    assert {"main", "__libc_start_main"} <= {one.target for one in std.code.instructions}
    assert not std.code.truncated


@pytest.mark.parametrize("flags", [("-g",), ("-O",), ("-Ctarget-feature=+crt-static", "-g")])
def test_who_calls_whom_before_main(bare_metal: Toolchain, tmp_path: Path, flags: tuple[str, ...]) -> None:
    calls = card_of(compile_with(bare_metal, tmp_path, HELLO, *flags)).calls
    if calls[1:] and calls[1].how == "names":
        pytest.fail("on this processor only the names are found")
    assert [call.how for call in calls] == ["entry", "calls", "hands over", "calls", "hands over"]
    assert [call.name for call in calls[:3]] == ["_start", "__libc_start_main", "main"]
    assert calls[3].name.startswith("std::rt::lang_start")
    assert calls[4].name == "main::main"


def test_nothing_runs_before_a_custom_start(bare: Card, own: Card) -> None:
    for card in (bare, own):
        assert [(call.name, call.how) for call in card.calls] == [("_start", "entry")]


@pytest.mark.parametrize("triple", ["x86_64-apple-darwin", "aarch64-apple-darwin"])
def test_the_card_of_a_program_for_macos(bare_metal: Toolchain, tmp_path: Path, triple: str) -> None:
    card = card_of(for_macos(bare_metal, tmp_path, triple))
    assert card.code
    assert card.code.symbol == "__start"
    assert tuple(one.code for one in card.code.instructions)[-2:] == FOREIGN_LOOP[card.facts.machine]
    assert [section.kind for section in card.sections] == ["code", "names"]
    assert card.symbols
    assert "__start" in (card.symbols.names or ())


def test_the_card_of_a_program_for_windows(bare_metal: Toolchain, tmp_path: Path) -> None:
    card = card_of(for_windows(bare_metal, tmp_path, "-Clink-arg=/SUBSYSTEM:console"))
    assert card.code
    assert card.code.symbol is None
    assert tuple(one.code for one in card.code.instructions) == FOREIGN_LOOP["x86-64"]
    assert card.symbols
    assert card.symbols.defined == 0
    assert [(section.name, section.kind) for section in card.sections] == [(".text", "code"), (".rdata", "constants")]
    assert by_kind(card)["code"] == 4


@pytest.mark.parametrize("triple", ["x86_64-apple-darwin", "aarch64-apple-darwin"])
def test_the_lines_of_a_program_for_macos_are_in_its_object_files(
    bare_metal: Toolchain, tmp_path: Path, triple: str
) -> None:
    data, *objects = for_macos_with_lines(bare_metal, tmp_path, triple)
    card = card_of(data, *objects)
    assert places(card) == {("main.rs", FOREIGN_LINE)}
    assert card.unread == ()
    assert places(card_of(data)) == {(None, None)}
    assert card_of(data).unread == ()
    other = card_of(data, for_macos(bare_metal, tmp_path / "other", triple))
    assert (places(other), other.unread) == ({(None, None)}, ("lines",))


def test_the_lines_of_a_program_for_windows_are_in_its_pdb(bare_metal: Toolchain, tmp_path: Path) -> None:
    data, pdb = for_windows_with_lines(bare_metal, tmp_path)
    card = card_of(data, pdb)
    assert places(card) == {("main.rs", FOREIGN_LINE)}
    assert card.unread == ()
    _, another = for_windows_with_lines(bare_metal, tmp_path / "another")
    for wrong in (another.replace(b"main.rs", b"MAIN.rs"), pdb[:5000], b"", data):
        card = card_of(data, wrong)
        assert (places(card), card.unread) == ({(None, None)}, ("lines",))
    assert places(card_of(data)) == {(None, None)}
    assert card_of(data).unread == ()


def test_a_path_on_windows_is_shown_from_where_the_compiler_ran() -> None:
    assert within(PureWindowsPath("C:\\work\\crate\\src\\main.rs"), "c:\\work\\crate") == "src/main.rs"
    assert within(PureWindowsPath("/home/learner/blog_os\\src\\main.rs"), "/home/learner/blog_os") == "src/main.rs"
    assert within(PureWindowsPath("D:\\rust\\core.rs"), "C:\\work\\crate") == "D:/rust/core.rs"
    assert within(PureWindowsPath("src\\main.rs"), "") == "src/main.rs"


def test_a_card_without_lines_comes_before_its_companions_are_read(bare_metal: Toolchain, tmp_path: Path) -> None:
    data, pdb = for_windows_with_lines(bare_metal, tmp_path)
    first, last = drafts(io.BytesIO(data), lambda: False, [io.BytesIO(pdb)])
    assert first == replace(card_of(data), unread=("lines",))
    assert last == card_of(data, pdb)


def test_a_part_that_comes_too_late_is_left_out_and_named(own: Card, bare_metal: Toolchain, tmp_path: Path) -> None:
    data = compile_with(bare_metal, tmp_path, BARE % "_start", "-Cpanic=abort", "-Clink-arg=-nostartfiles")
    card = examine(io.BytesIO(data), late=lambda: True)
    assert card.facts == own.facts
    assert card.unread == ("sections", "symbols", "code")
    assert (card.sections, card.symbols, card.code, card.calls) == ((), None, None, ())


def test_what_changed_from_std_to_bare_metal(std: Card, bare: Card) -> None:
    said = {change.what: change for change in compared(std, bare).changes}
    assert (said["machine"].before, said["machine"].after) == (std.facts.machine, "ARM")
    assert said["libraries"].after == said["loader"].after == said["C runtime"].after == "none"
    assert "libc.so.6" in said["libraries"].before
    assert said["before main"].after == "_start"
    assert said["bytes"].more == bare.bytes - std.bytes < 0
    assert said["symbols"].after == "1"
    assert not {"format", "entry", "subsystem"} & said.keys()


def test_nothing_has_changed_from_a_file_to_itself(std: Card) -> None:
    assert compared(std, std).changes == ()


def test_names_that_came_and_went_are_listed(own: Card, bare: Card) -> None:
    seen = compared(bare, own)
    assert not seen.went
    assert "_DYNAMIC" in seen.came


def test_names_are_bounded() -> None:
    assert len(model.text("x" * 10_000_000)) == model.LONGEST_NAME
    assert model.text(b"\xff\xfe") == "\ufffd\ufffd"
    assert model.text("\ud800") == "?"
