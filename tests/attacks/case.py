"""Attack cases: a crate and a command, and a check of what must not have happened."""
# ruff: noqa: E501  (programs in another language stand in these lines)

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from tests.attacks.world import World

Check = Callable[["World", "Story"], None]

MANIFEST = """[package]
name = "blog_os"
version = "0.1.0"
edition = "2021"
build = false

[profile.dev]
debug = false
incremental = false
"""
HELLO = 'fn main() { println!("hello"); }'
_PRELUDE = r"""
#![allow(warnings)]
use std::{ffi::{CString, c_char}, fs, io::{self, BufRead, Read, Seek, SeekFrom, Write}, net, path::{Path, PathBuf}};
use std::{process::{Command, Stdio, exit}, thread, time::{Duration, Instant}};
use std::os::unix::{fs as ufs, fs::{FileExt, OpenOptionsExt, PermissionsExt}, io::{AsRawFd, FromRawFd}};
use std::os::unix::{net as unet, process::CommandExt};
extern "C" {
    fn syscall(n: i64, ...) -> i64;
    fn fork() -> i32; fn setsid() -> i32; fn kill(pid: i32, sig: i32) -> i32; fn getppid() -> i32; fn getuid() -> u32;
    fn geteuid() -> u32; fn signal(sig: i32, handler: usize) -> usize;
    fn socket(family: i32, kind: i32, protocol: i32) -> i32;
    fn connect(fd: i32, to: *const u8, size: u32) -> i32; fn send(fd: i32, data: *const u8, n: usize, f: i32) -> isize;
    fn sendto(fd: i32, data: *const u8, n: usize, f: i32, to: *const u8, size: u32) -> isize;
    fn recv(fd: i32, data: *mut u8, n: usize, f: i32) -> isize;
    fn mmap(at: *mut u8, n: usize, prot: i32, flags: i32, fd: i32, off: i64) -> *mut u8;
    fn madvise(at: *mut u8, n: usize, what: i32) -> i32;
    fn setrlimit(what: i32, to: *const [u64; 2]) -> i32;
    fn mount(what: *const c_char, at: *const c_char, kind: *const c_char, flags: u64, data: *const c_char) -> i32;
    fn chroot(at: *const c_char) -> i32; fn nice(by: i32) -> i32; fn mkfifo(at: *const c_char, mode: u32) -> i32;
    fn mknod(at: *const c_char, mode: u32, device: u64) -> i32; fn unshare(flags: i32) -> i32;
}
fn c(text: &str) -> CString { CString::new(text).unwrap() }
fn begun() { println!("begun"); io::stdout().flush().unwrap(); }
fn nap(ms: u64) { thread::sleep(Duration::from_millis(ms)); }
/// Print what looks like one of the test's secrets, wherever it stands in these bytes.
fn hush(data: &[u8]) {
    for at in 0..data.len().saturating_sub(5) {
        if &data[at..at + 5] == b"hush-" { println!("FOUND {}", String::from_utf8_lossy(&data[at..data.len().min(at + 40)])); }
    }
}
fn show(path: impl AsRef<Path>) {
    let path = path.as_ref();
    match fs::read(path) {
        Ok(data) => println!("READ {path:?} {}", String::from_utf8_lossy(&data)),
        Err(error) => println!("not read {path:?} {error}"),
    }
}
fn names(path: impl AsRef<Path>) -> Vec<PathBuf> {
    fs::read_dir(path).map(|found| found.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}
fn all_files(top: &Path, deep: u32, act: &mut dyn FnMut(&Path)) {
    for path in names(top) {
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() && deep > 0 => all_files(&path, deep - 1, act),
            Ok(found) if found.is_file() => act(&path),
            _ => {}
        }
    }
}
fn pids() -> Vec<i32> {
    names("/proc").iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
}
fn plant(path: impl AsRef<Path>) {
    let path = path.as_ref();
    println!("plant {path:?} {:?}", fs::write(path, "@MARK@"));
}
fn again(word: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(word).arg("@MARK@");
    command
}
fn told(word: &str) -> bool { std::env::args().nth(1).as_deref() == Some(word) }
/// What an open descriptor is, as the kernel names it.
fn got(what: &str, fd: i64) {
    if fd >= 0 { println!("GOT {what} {:?}", fs::read_link(format!("/proc/self/fd/{fd}"))); }
    else { println!("{what}: {}", io::Error::last_os_error()); }
}
fn call(n: [i64; 2]) -> i64 { if cfg!(target_arch = "x86_64") { n[0] } else { n[1] } }
"""


def program(body: str, items: str = "") -> str:
    """Return a program that prints ``begun`` and attacks."""
    return f"{_PRELUDE}{items}\nfn main() {{ begun();\n{body}\n}}\n"


def build_script(body: str, items: str = "") -> tuple[str, str]:
    """Return a source that attacks as a build script but is also the program, and its manifest.

    The script fails at its end, so that cargo shows its output.
    """
    guarded = f'if std::env::var("NUM_JOBS").is_err() {{ return; }}\n{body}\nexit(1);'
    return program(guarded, items), MANIFEST.replace("build = false", 'build = "src/main.rs"')


@dataclass(frozen=True)
class Story:
    """The events of one hostile run, as a learner sees them."""

    run_id: str
    events: tuple[dict[str, Any], ...]
    seconds: float
    peaks: dict[str, float]
    bystanders: tuple[str, ...] = ()

    @cached_property
    def raw(self) -> str:
        """All events as one text."""
        return json.dumps(self.events, ensure_ascii=False)

    @cached_property
    def text(self) -> str:
        """The text in the terminal."""
        return "".join(event.get("text") or event.get("rendered") or "" for event in self.events)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of one type."""
        return [event for event in self.events if event["type"] == kind]

    @property
    def finished(self) -> dict[str, Any]:
        """The one ``finished`` event."""
        [event] = self.of("finished")
        return event


@dataclass(frozen=True)
class Case:
    """An attack with files and a command that a learner can post. ``held`` raises if it had an effect.

    ``main``, ``manifest`` and ``config`` are the three files; the world replaces each ``@NAME@`` in them. With
    ``begun``, the program must have reached its attack, because otherwise nothing is proved; then ``during`` acts from
    outside. ``where`` chooses the usual world, the one with small limits, or the one with a normal user's server.
    """

    id: str
    tries: str
    held: Check
    main: str = HELLO
    manifest: str = MANIFEST
    config: str | None = None
    command: str = "cargo run"
    begun: bool = True
    where: Literal["usual", "tight", "normal"] = "usual"
    during: Callable[[World], None] | None = field(default=None, compare=False)
    first: tuple[str, str] | None = None
    """The source and command of a run that comes first."""
    safe: bool = True
    """True if the attack may run without isolation."""
    attributes: bool = False
    """True for attacks on file attributes, which Landlock allows a run of the server's own user to change."""
    normal: bool = False
    """True if a normal user's server is attacked too, whose files and processes the run's user may own."""


def unseen(*secrets: str) -> Check:
    """Check that the run printed none of these secrets of the world."""

    def held(world: World, story: Story) -> None:
        for name in secrets:
            assert world.secrets[name] not in story.raw, f"the secret {name} was printed"

    return held


def never(*texts: str) -> Check:
    """Check that none of these texts was printed."""

    def held(world: World, story: Story) -> None:
        for text in texts:
            assert world.filled(text) not in story.text, f"{text} was printed"

    return held


def both(*checks: Check) -> Check:
    """Combine several checks."""

    def held(world: World, story: Story) -> None:
        for check in checks:
            check(world, story)

    return held


WEB: dict[str, str] = {}
"""Descriptions of the attacks that have a test function each, by id."""
ONE_LEVEL: set[str] = set()
"""The names of those test functions for which the level cannot matter."""

_Test = TypeVar("_Test", bound=Callable[..., object])


def attack(id_: str, tries: str, *, levels: bool = False) -> Callable[[_Test], _Test]:
    """Register a test function as an attack, for the table in ``docs/security.md``.

    ``levels`` is True if the isolation level can matter. Other attacks run at one level, and at each in `make test-all`.
    """

    def note(test: _Test) -> _Test:
        WEB[id_] = tries
        if not levels:
            ONE_LEVEL.add(test.__name__)
        return test

    return note
