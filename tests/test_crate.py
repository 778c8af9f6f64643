"""The contents of a crate's files: as they are written, in comments, broken, and made to keep a reader busy."""

import anyio
import pytest

from app.course.crate import CONFIG, MAIN, MANIFEST, CrateFacts, Fault
from app.course.crate.reading import read_crate
from app.course.crate.source import read_source
from app.course.crate.toml import read_table
from app.settings import Settings
from tests.support.inspector import inspecting


def names(text: str) -> dict[str, int]:
    return {mark.name: mark.line for mark in read_source(text).marks}


def test_attributes_have_their_names_and_their_arguments() -> None:
    found = names('#![no_std]\n#![feature(asm, start)]\n#[unsafe(no_mangle)]\n#[link(name  =  "c")]\nextern "C" {}\n')
    assert found["#![no_std]"] == 1
    assert found["#![feature(asm)]"] == found["#![feature(start)]"] == 2
    assert found["#[no_mangle]"] == found["#[unsafe(no_mangle)]"] == 3
    assert found['#[link(name = "c")]'] == 4
    assert "#[no_std]" not in found


def test_attributes_under_a_condition_count_as_well() -> None:
    assert "#![no_std]" in names("#![cfg_attr(not(test), no_std)]\nfn main() {}")


def test_items_know_where_they_stand() -> None:
    found = names('extern crate alloc;\nfn a() -> ! { fn b() {} loop {} }\nextern "C" { fn c(); static d: u8; }\n')
    assert {"extern crate alloc", "fn a", "fn a -> !", "inner fn b", "declared fn c", "declared static d"} <= set(found)


def test_each_path_of_a_use_counts() -> None:
    found = set(names("use core::{panic::{PanicInfo, self}, fmt as f};\nuse std::io;"))
    assert {"use core::panic::PanicInfo", "use core::panic::self", "use core::fmt", "use std::io"} <= found


def test_what_can_panic_is_found() -> None:
    text = """static mut S: [u8; 4] = *b"1234";
fn f(a: usize) {
    let b = [1][a] + 1;
    x.unwrap();
    write!(w, "{}", panic!());
    unsafe { *p = 1; g(&S); g(&raw const S); }
    let c = d % 2.0;
}"""
    found = names(text)
    assert {"index", "addition", ".unwrap()", "write!", "panic!", "float remainder"} <= set(found)
    assert found["use of a pointer"] == found["reference to a static mut"] == 6


def test_comments_hold_code_that_does_not_count() -> None:
    source = read_source("// fn a() {}\n/*\nfn main() {}\n*/\n/// fn doc() {}\nfn real() {}\n")
    assert [(mark.name, mark.line) for mark in source.commented] == [("fn a", 1), ("fn main", 3)]
    assert "fn main" not in {mark.name for mark in source.marks}
    assert not source.blank
    assert read_source("// fn a() {}\n").blank


@pytest.mark.parametrize("text", ["fn main() {\n", "fn main( {}", "#![no std]\nfn main() {}"])
def test_a_syntax_error_has_a_line(text: str) -> None:
    assert read_source(text).syntax_line == 1


def test_toml_in_a_rust_file_is_found() -> None:
    assert names("fn main() {}\n\n[profile.dev]\npanic = 1\n")["toml [profile.dev]"] == 3


def test_keys_have_tables_values_and_lines() -> None:
    text = '[package]\nname = "x"\n\n[[bin]]\ntest = false\n\n[target.\'cfg(os = "l")\']\nrustflags = ["-C", "a b"]\n'
    found = {mark.name: mark.line for mark in read_table(text).marks}
    assert found['package.name = "x"'] == 2
    assert found["bin[].test = false"] == 5
    assert found['target.\'cfg(os = "l")\'.rustflags = "a b"'] == 8


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('panic: "abort"', "colon"),
        ("panic = abort", "quotes"),
        ('panic = "abort', "unfinished"),
        ('rustflags = ["a", "b"', "unfinished"),
        ('rustflags = ["-C", "b]', "unfinished"),
        ('rustflags = ["-C", link-arg=-nostartfiles]', "quotes"),
        ('[target.cfg(os = "l")]', "header"),
        ("[profile.dev", "header"),
        ("a = 1\na = 2", "twice"),
        ("panic = “abort”", "lookalike"),
        ("panic\u00a0= 1", "lookalike"),
        ("nothing", "other"),
    ],
)
def test_a_fault_is_named(line: str, fault: Fault) -> None:
    table = read_table(f"[package]\n{line}\n")
    assert table.fault == fault
    assert table.line == 2 + line.count("\n")


@pytest.mark.parametrize(
    ("path", "text", "code"),
    [
        (MANIFEST, "[profile.dev]\npanic = “abort”\n", "U+201C"),
        (CONFIG, "[build]\ntarget\u00a0= 'x'\n", "U+00A0"),
        (MAIN, "\nfn main() { let a = 1\uff1b }\n", "U+FF1B"),
        (MAIN, "fn main() {\n    let a\u200b = 1 }}\n", "U+200B"),
    ],
)
def test_a_character_that_only_looks_right_is_found(path: str, text: str, code: str) -> None:
    found = read_crate({path: text}).lookalike
    assert found
    assert (found.file, found.line, found.code) == (path, 2, code)


def test_what_stands_in_a_sound_file_is_no_mistake() -> None:
    assert (
        read_crate({MAIN: 'fn main() { let a = "“”"; } // \u2019', MANIFEST: '[package]\nname = "é"'}).lookalike is None
    )


@pytest.mark.anyio
async def test_files_made_to_keep_a_reader_busy_are_given_up(settings: Settings) -> None:
    nested = "fn main() {" + "(" * 60_000
    keys = ".".join("a" * 30_000)
    async with inspecting(settings) as reader:
        with anyio.fail_after(60):
            assert (await reader.crate_of({MAIN: nested})).main
            assert await reader.crate_of({MANIFEST: f"{keys} = 1"}) == CrateFacts()
            sound = await reader.crate_of({MAIN: "#![no_std]\n", MANIFEST: ""})
    assert sound == read_crate({MAIN: "#![no_std]\n", MANIFEST: ""})


@pytest.mark.anyio
async def test_names_are_bounded(settings: Settings) -> None:
    many = "".join(f"fn f{number}() {{}}\n" for number in range(4000))
    long = f"fn {'a' * 5000}() {{}}\n"
    async with inspecting(settings) as reader:
        facts = await reader.crate_of({MAIN: long + many})
    assert facts.main
    assert len(facts.main.marks) <= 1000
    assert max(len(mark.name) for mark in facts.main.marks) <= 160
