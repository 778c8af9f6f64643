"""Parsing a learner's command: accepted commands, and one sentence for every other."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.command import CommandError, parse


@pytest.mark.parametrize(
    ("line", "kind", "subcommand"),
    [
        ("cargo build", "cargo", "build"),
        ("  cargo   b  ", "cargo", "build"),
        ("cargo c --target thumbv7em-none-eabihf", "cargo", "check"),
        ("cargo r --release", "cargo", "run"),
        ("cargo t", "cargo", "test"),
        ("cargo rustc -- -C link-arg=-nostartfiles", "cargo", "rustc"),
        ('cargo rustc -- -C link-args="/ENTRY:_start /SUBSYSTEM:console"', "cargo", "rustc"),
        ("cargo rustc --release -- -Clink-arg=-nostartfiles --print link-args", "cargo", "rustc"),
        ("cargo build --target=thumbv7em-none-eabihf -j1", "cargo", "build"),
        ("cargo clean", "cargo", "clean"),
        ("cargo run -- one 'two three'", "cargo", "run"),
        ("cargo new blog_os --bin --edition 2018", "new", "new"),
        ("rustc --version --verbose", "rustc", ""),
        ("rustc -vV", "rustc", ""),
        ("rustup target list", "rustup", "list"),
        ("rustup target add thumbv7em-none-eabihf", "rustup", "add"),
        ("readelf -hW target/debug/blog_os", "lookup", ""),
        ("objdump -d --no-show-raw-insn target/debug/blog_os", "lookup", ""),
        ("objdump -j .text -d target/debug/blog_os", "lookup", ""),
        ("nm --defined-only target/debug/blog_os", "lookup", ""),
        ("size -A target/debug/blog_os", "lookup", ""),
        ("file target/debug/blog_os", "lookup", ""),
    ],
)
def test_what_is_understood(line: str, kind: str, subcommand: str) -> None:
    command = parse(line)
    assert (command.kind, command.subcommand) == (kind, subcommand)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "Type a command"),
        ("ls", "cannot be run here"),
        ("/usr/bin/cargo build", "cannot be run here"),
        ("./cargo build", "cannot be run here"),
        ("cargo", "what cargo is to do"),
        ("cargo install ripgrep", "not offered"),
        ("cargo +nightly build", "beside the command"),
        ("cargo -C / build", "not offered"),
        ("cargo --config a=b build", "not offered"),
        ("cargo build --config a=b", "not offered"),
        ("cargo build --manifest-path /etc/passwd", "not offered"),
        ("cargo build --manifest-path=/etc/passwd", "not offered"),
        ("cargo build --target-dir /tmp", "not offered"),
        ("cargo build -Zbuild-std", "not offered"),
        ("cargo build --message-format json", "not offered"),
        ("cargo build --target ../evil.json", "no value"),
        ("cargo build --target", "needs a value"),
        ("cargo build extra", "options only"),
        ("cargo build -- -C x", "takes nothing after --"),
        ("cargo rustc -- -C linker=/bin/sh", "no value"),
        ("cargo rustc -- -o /tmp/x", "not offered"),
        ("cargo rustc -- --sysroot /", "not offered"),
        ("cargo rustc -- @file", "options only"),
        ("cargo rustc -- src/other.rs", "options only"),
        ("cargo new", "one name"),
        ("cargo new ../x", "one name"),
        ("cargo new /x", "one name"),
        ("cargo new a b", "one name"),
        ("rustc", "what rustc is to tell"),
        ("rustc src/main.rs --crate-type lib -o x", "not offered"),
        ("rustup default nightly", "rustup target"),
        ("rustup target add", "rustup target"),
        ("rustup target add ../x", "rustup target"),
        ("readelf -h", "which file"),
        ("readelf -h /etc/passwd", "outside of the crate"),
        ("readelf -h ../../x", "outside of the crate"),
        ("nm @options", "outside of the crate"),
        ("nm --plugin x target/y", "not offered"),
        ("file -m magic target/y", "not offered"),
        ("cargo build; ls", "No shell"),
        ("cargo build && ls", "No shell"),
        ("cargo build | cat", "No shell"),
        ("cargo build > x", "No shell"),
        ("cargo run -- $(id)", "No shell"),
        ("cargo run -- `id`", "No shell"),
        ("cargo build 'x", "quotation mark"),
        ("cargo build\nls", "one line"),
        ("cargo build\0", "one line"),
        ("cargo build " + "-v " * 500, "characters long"),
    ],
)
def test_what_is_refused_and_why(line: str, says: str) -> None:
    with pytest.raises(CommandError) as refused:
        parse(line)
    sentence = str(refused.value)
    assert says in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_quotes_keep_words_together() -> None:
    command = parse('cargo rustc -- -C link-args="-e __start -static -nostartfiles"')
    assert command.rest == ("-C", "link-args=-e __start -static -nostartfiles")
    assert command.flags_by_hand


def test_the_typed_target() -> None:
    assert parse("cargo build --target thumbv7em-none-eabihf").target == "thumbv7em-none-eabihf"
    assert parse("cargo build -r --target=thumbv7em-none-eabihf -v").target == "thumbv7em-none-eabihf"
    assert parse("cargo run -- --target x").target is None


def test_flags_by_hand_are_those_after_cargo_rustc() -> None:
    assert not parse("cargo build --release").flags_by_hand
    assert not parse("cargo rustc").flags_by_hand
    assert not parse("cargo run -- -C x").flags_by_hand


def test_only_looks_at_the_target_folder_need_something_built() -> None:
    assert parse("readelf -h target/debug/blog_os").needs_artifact
    assert not parse("file src/main.rs").needs_artifact
    assert not parse("cargo build").needs_artifact


@given(st.text(max_size=200))
def test_any_text_is_a_command_or_a_sentence(line: str) -> None:
    try:
        command = parse(line)
    except CommandError as error:
        said = str(error)
        assert said
    else:
        assert command.argv


@given(
    st.lists(st.sampled_from("cargo rustc build -- --target=x -C / .. ../x -o --config +n run new nm @x $(x)".split()))
)
def test_nothing_points_outside_of_the_crate(words: list[str]) -> None:
    try:
        command = parse(shlex.join(words))
    except CommandError:
        return
    assert not any(word.startswith(("/", "@", "../")) or word == ".." for word in command.options)
    if command.kind == "cargo":
        assert not any(word.startswith("+") for word in command.options), "the name of a toolchain"
    if command.subcommand != "run":
        assert not any(word.startswith(("/", "@", "../")) for word in command.rest)
