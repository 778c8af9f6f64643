"""Parsing a learner's command: accepted commands, and one sentence for every other."""

import re
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.protocol.command import RUN, CommandError, parse
from app.protocol.command.cargo_table import CARGO
from app.protocol.command.overview import LINES, overview
from app.protocol.command.refusals import PROGRAMS, SUBCOMMANDS
from tests.support.environment import takes_less_than


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
        ("strings -n 8 target/debug/blog_os", "lookup", ""),
        ("xxd -l 64 target/debug/blog_os", "lookup", ""),
        ("xxd -s0x40 target/debug/blog_os", "lookup", ""),
        ("hexdump -C -n 64 target/debug/blog_os", "lookup", ""),
    ],
)
def test_what_is_understood(line: str, kind: str, subcommand: str) -> None:
    command = parse(line)
    assert (command.kind, command.subcommand) == (kind, subcommand)


@pytest.mark.parametrize(
    ("line", "read", "how"),
    [
        ("$ cargo build", "cargo build", "without the prompt"),
        ("> cargo build", "cargo build", "without the prompt"),
        ("PS C:\\Users\\me\\blog_os> cargo build", "cargo build", "without the prompt"),
        ("C:\\blog_os>cargo run", "cargo run", "without the prompt"),
        ("me@here:~/blog_os$ cargo build -r", "cargo build -r", "without the prompt"),
        ("# cargo build", "cargo build", "without the prompt"),
        ("cargo build # on Linux", "cargo build", "without the comment"),
        ("cargo build // on Linux", "cargo build", "without the comment"),
        ("# Linux\ncargo rustc -- -C link-arg=-nostartfiles", "cargo rustc -- -C link-arg=-nostartfiles", "comment"),
        ("cargo rustc -- \\\n  -C link-arg=-nostartfiles", "cargo rustc -- -C link-arg=-nostartfiles", "as one line"),
        ("cargo rustc -- \\ -C link-arg=-nostartfiles", "cargo rustc -- -C link-arg=-nostartfiles", "as one line"),
        ("cargo build \u2014target thumbv7em-none-eabihf", "cargo build --target thumbv7em-none-eabihf", "hyphens"),
        ("cargo build \u2013target=thumbv7em-none-eabihf", "cargo build --target=thumbv7em-none-eabihf", "hyphens"),
        (
            "cargo rustc \u2014 \u2013C link-arg=\u2013nostartfiles",
            "cargo rustc -- -C link-arg=-nostartfiles",
            "hyphens",
        ),
        (
            "cargo rustc -- -C link-args=\u201c-e __start -static\u201d",
            'cargo rustc -- -C link-args="-e __start -static"',
            "straight quotation marks",
        ),
        (
            'cargo rustc -- -C link-args="-e __start -static\u201d',
            'cargo rustc -- -C link-args="-e __start -static"',
            "straight quotation marks",
        ),
        ("cargo\u00a0build", "cargo build", "ordinary spaces"),
        ("cargo\u200b build", "cargo build", "ordinary spaces"),
        ("Cargo build", "cargo build", "lower case"),
        ("`cargo build`", "cargo build", "without the backticks"),
        ("cargo build;", "cargo build", "without the semicolon"),
        ("cargo.exe build", "cargo build", "without `.exe`"),
        (".\\target\\debug\\blog_os", "./target/debug/blog_os", "slashes"),
    ],
)
def test_what_can_only_mean_one_command_is_read_as_that(line: str, read: str, how: str) -> None:
    command = parse(line)
    assert command.argv == parse(read).argv
    assert how in command.note
    assert command.note.endswith(".")
    assert parse(read).note == ""


def test_what_a_program_is_given_stays_as_it_was_typed() -> None:
    assert parse("cargo run -- \u2014x").rest == ("\u2014x",)
    assert parse("cargo rustc -- --cfg 'x=\"\u201ca\u201d\"'").rest == ("--cfg", 'x="\u201ca\u201d"')
    assert parse('cargo rustc -- --cfg "a=\\"b\\""').rest == ("--cfg", 'a="b"')


FLAGS = "cargo rustc -- -C link-arg=-nostartfiles"


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("cargo build -C link-arg=-nostartfiles", FLAGS),
        ("cargo rustc -C link-arg=-nostartfiles", FLAGS),
        ("cargo build -- -C link-arg=-nostartfiles", FLAGS),
        ("cargo run -- -C link-arg=-nostartfiles", FLAGS),
        ("cargo build -Clink-arg=-nostartfiles", FLAGS),
        ("cargo build -nostartfiles", FLAGS),
        ("cargo rustc -- -nostartfiles", FLAGS),
        ("cargo rustc -- -C -nostartfiles", FLAGS),
        ("cargo rustc -- -C nostartfiles", FLAGS),
        ("cargo rustc -- -C link-arg -nostartfiles", FLAGS),
        ("cargo rustc -- -C link-arg = -nostartfiles", FLAGS),
        ('cargo rustc -- -C "link-arg = -nostartfiles"', FLAGS),
        ('cargo rustc -- "-C link-arg=-nostartfiles"', FLAGS),
        ("cargo rustc -- -c link-arg=-nostartfiles", FLAGS),
        ("cargo rustc -- --link-arg=-nostartfiles", FLAGS),
        ("cargo rustc -- link-arg=-nostartfiles", FLAGS),
        ("cargo rustc -- -C linkarg=-nostartfiles", FLAGS),
        ("rustc src/main.rs -C link-arg=-nostartfiles", FLAGS),
        ('RUSTFLAGS="-C link-arg=-nostartfiles" cargo build', FLAGS),
        ('set RUSTFLAGS="-C link-arg=-nostartfiles"', FLAGS),
        ("set RUSTFLAGS=-C link-arg=-nostartfiles && cargo build", FLAGS),
        ('$env:RUSTFLAGS="-C link-arg=-nostartfiles"; cargo build', FLAGS),
        ("$env:RUSTFLAGS = '-C link-arg=-nostartfiles'", FLAGS),
        ("export RUSTFLAGS='-C link-arg=-nostartfiles'", FLAGS),
        ("set -x RUSTFLAGS '-C link-arg=-nostartfiles'", FLAGS),
        (
            "RUSTFLAGS='-C panic=abort' cargo build --release",
            "cargo rustc --release -- -C panic=abort",
        ),
        (
            "cargo rustc -- -C link-args=-e __start -static -nostartfiles",
            'cargo rustc -- -C link-args="-e __start -static -nostartfiles"',
        ),
        (
            "cargo rustc --target thumbv7em-none-eabihf -C link-arg=-nostartfiles",
            "cargo build --target thumbv7em-none-eabihf",
        ),
        ("cargo build -Z build-std=core --release", "cargo build --release"),
        ("cargo +nightly build", "cargo build"),
        ("rustup run nightly cargo build", "cargo build"),
        ("rustup target add thumbv7em-none-eabihf --toolchain nightly", "rustup target add thumbv7em-none-eabihf"),
        ("rustc src/main.rs", "cargo build"),
        ("cargo objdump -- -d", "objdump -d target/debug/NAME"),
        ("cargo nm --target thumbv7em-none-eabihf --release", "nm target/thumbv7em-none-eabihf/release/NAME"),
        ("llvm-objdump -d target/debug/blog_os", "objdump -d target/debug/blog_os"),
        ("hd target/debug/blog_os", "hexdump -C target/debug/blog_os"),
        ("less src/main.rs", "cat src/main.rs"),
        ("sudo cargo biuld --relase", "cargo build --release"),
        ("cd blog_os && cargo build", "cargo build"),
        ("rustc --print target-list | grep thumb", "rustc --print target-list"),
        ("cargo build 2>&1", "cargo build"),
        ("cargo biuld", "cargo build"),
        ("cargo build --realease", "cargo build --release"),
        ("cargo build -release", "cargo build --release"),
        ("cargo build release", "cargo build --release"),
        ("cargo --release", "cargo build --release"),
        ("rustc -version", "rustc --version"),
        ("build", "cargo build"),
        ("cargobuild", "cargo build"),
        ("carg build", "cargo build"),
        ("/usr/bin/cargo build", "cargo build"),
        ("target/debug/blog_os.exe", "target/debug/blog_os"),
        ("C:\\me\\blog_os\\target\\debug\\blog_os.exe", "target/debug/blog_os"),
        ("./NAME", "target/debug/NAME"),
        ("readelf -h NAME", "readelf -h target/debug/NAME"),
        ("xxd target/debug/blog_os out", "xxd target/debug/blog_os"),
        ("cargo build --target-dir /tmp", "cargo build"),
        ("help cargo build", "cargo build --help"),
        ("cargo build -- --release", "cargo build --release"),
        ("cargo build -- target x86_64-unknown-none", "cargo build --target x86_64-unknown-none"),
        ("cargo build target x86_64-unknown-none", "cargo build --target x86_64-unknown-none"),
        ("cargo build x86_64-unknown-none", "cargo build --target x86_64-unknown-none"),
        ("cargo build -target x86_64-unknown-none", "cargo build --target x86_64-unknown-none"),
        (
            "cargo rustc -- -C panic=abort --target x86_64-unknown-none --release",
            "cargo rustc --target x86_64-unknown-none --release -- -C panic=abort",
        ),
        ("cargo rustc -- -C panic = abort", "cargo rustc -- -C panic=abort"),
        ("cargo build --panic=abort", "cargo rustc -- -C panic=abort"),
        ("Run cargo build", "cargo build"),
        ('"cargo build"', "cargo build"),
        ("NAME.exe", "target/debug/NAME"),
    ],
)
def test_a_refusal_names_the_right_command(line: str, right: str) -> None:
    with pytest.raises(CommandError) as refused:
        parse(line)
    assert f"`{right}`" in str(refused.value)
    assert parse(right).argv


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "Type a command"),
        ("xyzzy", "this is a command line for cargo"),
        ("cd src", "already runs in the crate's folder"),
        ("ldd target/debug/blog_os", "readelf -d"),
        ("gdb target/debug/blog_os", "no debugger"),
        ("vim src/main.rs", "editor is on this page"),
        ("git status", "keeps your texts"),
        ("echo hello", "No shell"),
        ("man cargo", "`help` lists"),
        ("cargo", "what cargo should do"),
        ("cargo install ripgrep", "Nothing is installed"),
        ("cargo -C / build", "already runs in the crate's folder"),
        ("cargo --config a=b build", "leave `--config` out"),
        ("cargo build --config a=b", "leave `--config` out"),
        ("cargo build --manifest-path /etc/passwd", "leave `--manifest-path` out"),
        ("cargo build --manifest-path=/etc/passwd", "leave `--manifest-path` out"),
        ("cargo build --target-dir /tmp", "leave `--target-dir` out"),
        ("cargo build -Zbuild-std", "nightly"),
        ("cargo build --message-format json", "leave `--message-format` out"),
        ("cargo build --target ../evil.json", "named by its triple"),
        ("cargo build --target", "needs a value"),
        ("cargo build --target <target>", "stands for a value of your own"),
        ("cargo build extra", "takes only options"),
        ("cargo rustc -- -C linker=/bin/sh", "not among the linkers"),
        ("cargo rustc -- -C incremental=/tmp", "fresh folder"),
        ("cargo rustc -- -C profile-generate=/tmp", "No profile"),
        ("cargo rustc -- -L /usr/lib", "not a value"),
        ("cargo rustc -- -o /tmp/x", "leave `-o` out"),
        ("cargo rustc -- --sysroot /", "leave `--sysroot` out"),
        ("cargo rustc -- @file", "Only compiler options"),
        ("cargo rustc -- src/other.rs", "Only compiler options"),
        ("cargo clippy --fix", "Nothing may change your files"),
        ("cargo clippy -- -C linker=x", "come lints"),
        ("cargo fmt -- --config-path /etc", "no option"),
        ("cargo new", "one name"),
        ("cargo new ../x", "one name"),
        ("cargo new /x", "one name"),
        ("cargo new a b", "one name"),
        ("rustc", "cargo calls the compiler"),
        ("rustc --print cfg=/tmp/x", "not a value"),
        ("rustc -C link-arg=x", "not a value"),
        ("rustup default nightly", "chosen beside the command"),
        ("rustup override set nightly", "chosen beside the command"),
        ("rustup target add", "Name a target"),
        ("rustup target add ../x", "Name a target"),
        ("readelf -h", "Say which file"),
        ("readelf -h /etc/passwd", "outside of the crate"),
        ("readelf -h ../../x", "outside of the crate"),
        ("cat /etc/passwd", "outside of the crate"),
        ("cat ../x", "outside of the crate"),
        ("ls /", "outside of the crate"),
        ("ls ~", "outside of the crate"),
        ("nm @options", "outside of the crate"),
        ("nm --plugin x target/y", "only look"),
        ("file -m magic target/y", "only look"),
        ("xxd -r target/y", "only look"),
        ("hexdump -f format target/y", "only look"),
        ("target/debug/blog_os one", "path alone"),
        ("/bin/true", "outside of the crate"),
        ("cargo build; ls", "no shell"),
        ("cargo build && ls", "no shell"),
        ("cargo build | cat", "no shell"),
        ("cargo build > x", "no shell"),
        ("cargo run -- $(id)", "no shell"),
        ("cargo run -- `id`", "no shell"),
        ("RUST_BACKTRACE=1 cargo run", "not read here"),
        ("RUSTC_BOOTSTRAP=1 cargo build", "act as a nightly"),
        ("CARGO_PROFILE_DEV_PANIC=abort cargo build", "[profile.dev]"),
        ("#![no_std]", "belongs in `src/main.rs`"),
        ('panic = "abort"', "belongs in `Cargo.toml`"),
        ("cargo build 'x", "quotation mark"),
        ("cargo build\nls", "one line"),
        ("cargo build\0", "one line"),
        ("cargo build " + "-v " * 500, "characters long"),
        ("cargo build # \ud800", "control characters"),
        ("cargo run -- \x1b", "control characters"),
    ],
)
def test_what_is_refused_and_why(line: str, says: str) -> None:
    with pytest.raises(CommandError) as refused:
        parse(line)
    sentence = str(refused.value)
    assert says in sentence
    assert sentence.endswith((".", "?"))
    assert "\n" not in sentence


def test_every_answer_to_a_program_is_a_sentence_without_gaps() -> None:
    for name in (*PROGRAMS, *(f"cargo {name}" for name in SUBCOMMANDS)):
        with pytest.raises(CommandError) as refused:
            parse(name, "blog_os")
        assert str(refused.value).endswith((".", "?")), name
        assert "{" not in str(refused.value), name


def test_help_names_every_program_and_subcommand() -> None:
    text = overview("blog_os")
    for name in RUN:
        assert name in text
    for name in CARGO:
        assert re.search(rf"\bcargo {name}\b", text), name
    values = {"{crate}": "x", "FLAGS": "-g", "…": "--version", "TRIPLE": "thumbv7em-none-eabihf", "NAME": "x"}
    for offered in (part.strip() for commands, _ in LINES for part in commands.split(",")):
        typed = offered.replace("FILE", "src/main.rs" if offered.startswith("cat") else "target/debug/x")
        for name, value in values.items():
            typed = typed.replace(name, value)
        assert parse(typed).argv


@pytest.mark.parametrize(
    ("line", "subcommand", "options"),
    [
        ("cargo --version --verbose", "--version", ("--verbose",)),
        ("cargo -Vv", "--version", ("--verbose",)),
        ("cargo version", "--version", ()),
        ("cargo --list", "--list", ()),
        ("cargo help build", "build", ("--help",)),
        ("cargo build -h", "build", ("--help",)),
        ("cargo -q build", "build", ("-q",)),
        ("cargo --explain E0463", "--explain", ("E0463",)),
        ("cargo clippy -- -W clippy::pedantic", "clippy", ()),
        ("cargo fmt --check", "fmt", ("--check",)),
        ("cargo tree -e normal", "tree", ("-e", "normal")),
        ("cargo rustc -- -C linker-features=-lld -C embed-bitcode=yes -C link_arg=x", "rustc", ()),
    ],
)
def test_what_is_true_and_harmless_is_accepted(line: str, subcommand: str, options: tuple[str, ...]) -> None:
    command = parse(line)
    assert (command.kind, command.subcommand, command.options) == ("cargo", subcommand, options)


@pytest.mark.parametrize(
    "line", ["help", "pwd", "ls", "ls -la src", "cat src/main.rs", "cat -n Cargo.toml .cargo/config.toml"]
)
def test_questions_about_the_crate_are_answered(line: str) -> None:
    assert parse(line).kind == "answer"


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
    assert not parse("cargo run -- -x").flags_by_hand


def test_only_looks_at_the_target_folder_need_something_built() -> None:
    assert parse("readelf -h target/debug/blog_os").needs_artifact
    assert not parse("file src/main.rs").needs_artifact
    assert not parse("cargo build").needs_artifact


@pytest.mark.parametrize(
    "line",
    ["user@" + "a" * 990, "PS " * 330, "-C " * 330, "<" + "a " * 490, "cargo rustc -- " + "-e " * 320, "$ " * 490],
)
def test_no_line_takes_long(line: str) -> None:
    with takes_less_than(0.1), pytest.raises(CommandError):
        parse(line)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_command_or_a_sentence(line: str) -> None:
    try:
        command = parse(line)
    except CommandError as error:
        said = str(error)
        assert said
    else:
        assert command.argv


@settings(deadline=None)
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
