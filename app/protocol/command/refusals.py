"""Answers to what does not run here, as data: a sentence for each program and subcommand.

``{crate}`` is the crate's name. A program's sentence may be followed by the right command, see ``Answer.instead``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

CHOSEN = "The compiler is chosen beside the command"
NO_SHELL = "There is no shell here: one command at a time, without pipes, redirections or `&&`."
_KEPT = "The page keeps your texts; it can undo, reset and compare them."
_EDITOR = "The editor is on this page: the files of the crate are its tabs."
_ONLY_EDITOR = "The crate's files are the tabs of the editor; every run begins with them in a fresh folder."
_NOTHING_COMES = "Nothing is installed from the command line; what the lessons need is already here."
_LINKER = "rustc calls the linker and passes it what stands in `cargo rustc -- -C link-arg=…`."
_WATCHED = "`cargo run` watches the program: the page shows how it ended, its system calls and where it stood."

Instead = Literal["rest", "look", "cat", "", "cargo fmt", "cargo clippy", "cargo build"]


@dataclass(frozen=True)
class Answer:
    """The answer to a program that does not run here.

    ``instead`` is the right command, if there is one: ``rest`` the words behind the program, ``look`` the program
    ``by`` with the same words, ``cat`` the file that was named, else the command itself.
    """

    sentence: str
    instead: Instead = ""
    by: str = ""


def _each(names: str, sentence: str, instead: Instead = "", by: str = "") -> dict[str, Answer]:
    return dict.fromkeys(names.split(), Answer(sentence, instead, by))


PROGRAMS: Mapping[str, Answer] = {
    **_each(
        "cd chdir pushd popd", "Every command already runs in the crate's folder, so there is no need to change it."
    ),
    **_each("sudo doas su runas", "Nothing here needs sudo or an administrator's rights.", "rest"),
    **_each("time nice nohup exec command watch stdbuf", "The command runs by itself.", "rest"),
    **_each(
        "ldd",
        "`ldd` would start the program. The libraries that it asks for are in the file: "
        "`readelf -d target/debug/{crate}`.",
    ),
    **_each(
        "gdb lldb rust-gdb rust-lldb r2 radare2 gdb-multiarch",
        "There is no debugger here; the page steps through what was built, and `objdump -d target/debug/{crate}` shows "
        "its instructions.",
    ),
    **_each("vim vi nvim nano emacs code micro ed joe kate gedit notepad helix hx subl", _EDITOR),
    **_each("git hg svn jj gh", _KEPT),
    **_each("echo printf puts", "No shell reads this line, so there is nothing to print; `cat FILE` shows a file."),
    **_each(
        "man info tldr apropos whatis",
        "`help` lists what can be run here; `cargo build --help` and `rustc --help` explain the options.",
    ),
    **_each("clear cls reset tput history", "The page keeps each run's output; there is nothing to clear."),
    **_each("exit quit logout bye", "There is no session to leave; close the page whenever you like, your texts stay."),
    **_each("mkdir touch rm mv cp ln chmod chown rmdir del copy move ren install tee dd truncate", _ONLY_EDITOR),
    **_each(
        "gcc g++ cc clang clang++ c++ ld ld.lld ld64.lld lld lld-link rust-lld link link.exe as nasm wasm-ld", _LINKER
    ),
    **_each("make cmake ninja just meson", "cargo builds everything here.", "cargo build"),
    **_each("curl wget ping ssh scp nc telnet ftp", "There is no network here, and no lesson needs one."),
    **_each(
        "apt apt-get aptitude dpkg brew pip pip3 npm yarn snap choco winget scoop dnf yum pacman apk pkg",
        _NOTHING_COMES,
    ),
    **_each("bash sh zsh fish dash ksh pwsh powershell cmd", "There is no shell here; type the command itself."),
    **_each(
        "python python3 node perl ruby java go lua", "Only cargo, rustc and programs that look into a file run here."
    ),
    **_each("strace ltrace perf valgrind dtrace ftrace bpftrace", _WATCHED),
    **_each("ps top htop kill killall pkill jobs bg fg", "A run ends by itself, or when you press *Cancel*."),
    **_each("which whereis where type hash", "Programs are called by their name alone; `help` lists them."),
    **_each(
        "uname arch lscpu hostname hostnamectl sw_vers ver systeminfo whoami id",
        "The compiler knows the computer that it runs on: `rustc --version --verbose` tells its triple.",
    ),
    **_each("less more head tail bat batcat view", "A file of the crate is shown whole.", "cat"),
    **_each(
        "grep egrep rg ag sed awk cut sort uniq wc tr xargs diff cmp jq",
        "There are no pipes, and nothing that filters; the editor and the browser search with Ctrl+F.",
    ),
    **_each("find tree du df fd locate stat", "`ls` lists the files of the crate."),
    **_each(
        "objcopy strip ar ranlib llvm-objcopy llvm-strip rust-objcopy rust-strip",
        "Nothing changes a built file here; `strip = true` in a profile of `Cargo.toml` has cargo do it.",
    ),
    **_each(
        "addr2line c++filt rustfilt llvm-cxxfilt",
        "`nm -C target/debug/{crate}` shows the names as they are in the source.",
    ),
    **_each(
        "llvm-objdump rust-objdump gobjdump arm-none-eabi-objdump x86_64-linux-gnu-objdump otool dumpbin disasm",
        "`objdump` reads the files of every target here.",
        "look",
        "objdump",
    ),
    **_each(
        "llvm-readelf llvm-readobj rust-readobj rust-readelf greadelf eu-readelf arm-none-eabi-readelf readobj",
        "`readelf` reads the files of every target here.",
        "look",
        "readelf",
    ),
    **_each("llvm-nm rust-nm gnm arm-none-eabi-nm", "`nm` reads the files of every target here.", "look", "nm"),
    **_each(
        "llvm-size rust-size gsize arm-none-eabi-size", "`size` reads the files of every target here.", "look", "size"
    ),
    **_each("hd od hexyl hexedit", "`hexdump -C` shows the bytes of a file.", "look", "hexdump -C"),
    **_each("rustfmt cargo-fmt", "cargo formats the whole crate.", "cargo fmt"),
    **_each("clippy clippy-driver cargo-clippy", "cargo runs Clippy on the whole crate.", "cargo clippy"),
    **_each("rust-analyzer rls", "The page's editor shows the compiler's messages after each run."),
    **_each("rustdoc mdbook", "Pages of documentation cannot be opened here."),
    **_each(
        "bootimage qemu-img grub-mkrescue bochs virtualbox vmware limine",
        "The lessons that boot a machine start the kernel itself, with `qemu-system-x86_64 -kernel`.",
    ),
    **_each(
        "qemu qemu-system-i386 qemu-system-aarch64 qemu-system-riscv64 qemu-system-riscv32 qemu-kvm kvm qemu-arm "
        "qemu-x86_64 qemu-aarch64",
        "The emulators here are `qemu-system-arm` and `qemu-system-x86_64`.",
    ),
    **_each("docker podman wine wine64 wsl vagrant", "Every run has a sandbox of its own already."),
    **_each(
        "open xdg-open start explorer firefox", "Nothing can be opened from here; `cat FILE` shows a file of the crate."
    ),
    **_each(
        "probe-rs openocd st-flash espflash flip-link",
        "No board is connected; the lessons that boot a machine use an emulator.",
    ),
    **_each("source alias unalias trap eval ulimit umask", NO_SHELL),
}
"""Programs that do not run here."""

SUBCOMMANDS: Mapping[str, Answer] = {
    **_each("add remove rm", "Dependencies belong in `Cargo.toml`, below `[dependencies]`; this crate needs none."),
    **_each("install uninstall binstall", _NOTHING_COMES),
    **_each(
        "update fetch vendor generate-lockfile search info outdated audit deny",
        "This crate has no dependencies, and there is no network here.",
    ),
    **_each("publish package login logout owner yank", "Crates cannot be published from here."),
    **_each("doc rustdoc d", "Pages of documentation cannot be opened here."),
    **_each(
        "fix",
        "Nothing may change your files behind your back; the page offers what the compiler proposes.",
    ),
    **_each(
        "bench", "There is nothing to measure without the standard library's test harness; `cargo test` runs tests."
    ),
    **_each("init", "The crate is already there.", "cargo build"),
    **_each(
        "metadata read-manifest locate-project pkgid verify-project config report",
        "That is for tools; `cargo tree` shows the crate and its dependencies.",
    ),
    **_each(
        "asm",
        "`cargo rustc -- --emit asm` writes assembly, and `objdump -d target/debug/{crate}` shows the instructions.",
    ),
    **_each("expand", "Macros cannot be expanded here; that takes a nightly compiler and an extension of cargo."),
    **_each("bloat", "`size -A target/debug/{crate}` shows how large each section is."),
    **_each(
        "watch nextest miri component edit script xtask hack make generate leptos embed flash",
        "That is an extension of cargo, which is not here; `help` lists what can be run.",
    ),
    **_each(
        "bootimage bootrun xbuild xrun xtest",
        "The post no longer needs it: cargo builds for every target of the lessons by itself.",
        "cargo build",
    ),
    **_each("git-checkout", _KEPT),
}
"""Subcommands of cargo that do not run here."""

EXTENSIONS: Mapping[str, str] = {"readobj": "readelf"} | {name: name for name in ("objdump", "nm", "size", "readelf")}
"""Subcommands of cargo-binutils, and the program that does the same here."""

RUSTUP: Mapping[str, str] = {
    **dict.fromkeys(("toolchain", "default", "override", "run", "show", "which"), f"{CHOSEN}, not with rustup."),
    **dict.fromkeys(("update", "self", "install", "uninstall", "set", "check"), _NOTHING_COMES),
    "component": "What the lessons need is here: the compiler's sources have been built, and `objdump`, `readelf`, "
    "`nm` and `size` look into files.",
    "doc": "Pages of documentation cannot be opened here.",
    "man": "`help` lists what can be run here.",
}
"""Subcommands of rustup that are not answered."""

VARIABLES: Mapping[str, str] = {
    "RUSTC_BOOTSTRAP": f"`RUSTC_BOOTSTRAP` makes a stable compiler act as a nightly. {CHOSEN}: a nightly is among them "
    "where one is installed.",
    "RUSTUP_TOOLCHAIN": f"{CHOSEN}, not with a variable.",
    "CARGO_BUILD_TARGET": "No variables are read here: pass the target with `--target`.",
    "CARGO_TARGET_DIR": "No variables are read here, and the page looks for the program in `target`.",
}
"""The answer to a variable in front of a command."""
