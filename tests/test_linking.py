"""Explaining a linker's command line part by part."""

import pytest

from app.web.linking import PARTS, explain, find_command
from app.web.words import LINKER_PARTS

CC = '"cc" "-m64" "/tmp/r/symbols.o" "<1 object files omitted>" "-Wl,--as-needed" "-L" "/tmp/r/raw" "-o" "out" "-pie"'


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (CC, "`Scrt1.o`, an object file of the C library"),
        (CC.replace('"-pie"', '"-no-pie"'), "`crt1.o`, an object file"),
        (CC.replace('"-pie"', '"-static-pie"'), "`rcrt1.o`, an object file"),
        (CC.replace("cc", "arm-linux-gnueabihf-gcc-12", 1), "`arm-linux-gnueabihf-gcc-12` adds it by itself"),
        (f'{CC} "-nostartfiles"', "Only you: this command tells `cc`"),
        ('"rust-lld" "-flavor" "gnu" "a.o" "-o" "out"', "Only you: `rust-lld` is called directly"),
        ('"link.exe" "/NOLOGO" "a.o" "/OUT:x.exe" "/DEBUG"', "`mainCRTStartup`"),
        ('"rust-lld" "-flavor" "link" "a.o" "/ENTRY:_start"', "You: this command names the entry point"),
    ],
)
def test_it_says_who_supplies_start(command: str, words: str) -> None:
    assert words in explain(command).start


def test_the_linkers_own_words_are_cited() -> None:
    line = explain(CC, ["ld: /usr/lib/gcc/../Scrt1.o: in function `_start':"])
    assert "Here it is `/usr/lib/gcc/../Scrt1.o`" in line.start


def test_every_part_is_explained_and_an_option_keeps_its_value() -> None:
    line = explain(f'LC_ALL="C" PATH="/bin" {CC} "--never-heard-of"')
    assert line.program == "cc"
    texts = [part.text for part in line.parts]
    assert {"-L /tmp/r/raw", "-o out"} <= set(texts)
    assert all(part.means for part in line.parts)
    assert line.parts[-1].means == "an option of the linker"


def test_every_meaning_has_words_and_all_words_are_used() -> None:
    assert {name for _, name in PARTS} == LINKER_PARTS.keys()


@pytest.mark.parametrize("note", ["some arguments are omitted", '"cc"', '"a" "b', "", '"cc" "-m64" "x" "y" and more'])
def test_other_notes_are_no_command(note: str) -> None:
    assert find_command([note]) is None
    assert find_command([note, f" {CC}\n"]) == CC
