"""Slowing down or watching others through shared files, page cache, locks and kernel limits."""
# ruff: noqa: E501  (programs in another language stand in these lines)

import contextlib
import ctypes
import fcntl
import mmap
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from bench.pace import pace
from tests.attacks.case import Case, Check, Story, never, program
from tests.attacks.resources import bounded
from tests.attacks.world import World
from tests.support.environment import SLOWER_BY

_FCNTL = 'extern "C" { fn fcntl(fd: i32, what: i32, ...) -> i32; fn ioctl(fd: i32, what: u64, ...) -> i32; }\n'
_TOOLS = """
    let mut tools = vec![PathBuf::from("@RUSTC@"), PathBuf::from("/usr/bin/cargo"), PathBuf::from("/usr/bin/cc")];
    for top in ["@SYSROOT@/bin", "@SYSROOT@/lib"] { all_files(Path::new(top), 3, &mut |path| if tools.len() < 60 { tools.push(path.into()) }); }
"""
_GET_FLAGS, _NO_DUMP = 0x8008_6601, 0x40
_MOST_REQUESTS = 1000


def _nothing_got(_world: World, story: Story) -> None:
    assert "GOT" not in story.text


def _beside(id_: str) -> Callable[[World], None]:
    """Build as another seat, one second after the attack has begun."""

    def build(world: World) -> None:
        time.sleep(1)
        [finished] = [event for event in world.honest() if event["type"] == "finished"]
        assert finished["status"] == "ok"
        world.notes[id_] = str(finished["seconds"] / pace())

    return build


def _was_quick(id_: str) -> Check:
    """Check that the build beside the attack took no longer than usual, relative to the machine's load."""

    def held(world: World, _story: Story) -> None:
        assert float(world.notes[id_]) < 8 * SLOWER_BY

    return held


def _make_names(world: World) -> None:
    """Create files where the attack watches, and build as another seat."""
    time.sleep(0.5)
    name = f"hush-{secrets.token_hex(8)}"
    for folder in (Path("/tmp"), Path("/var/tmp"), world.outside):
        with contextlib.suppress(OSError):
            (folder / name).touch()
            (folder / name).unlink()
    ids: list[str] = []
    files = {"src/main.rs": "fn main() {}", "Cargo.toml": '[package]\nname = "blog_os"\nedition = "2021"\n'}
    assert list(world.events(files, "cargo build", ids))
    world.notes["name"], world.notes["id"] = name, ids[0]


def _no_names(world: World, story: Story) -> None:
    for name in ("name", "id"):
        assert world.notes.pop(name) not in story.text


def _look_for_name(world: World) -> None:
    time.sleep(0.5)
    world.notes["sockets"] = Path("/proc/net/unix").read_text()


def _name_is_free(world: World, _story: Story) -> None:
    assert f"@squat-{world.token}" not in world.notes.pop("sockets")


def _count_requests(world: World) -> None:
    time.sleep(0.7)
    world.notes["requests"] = Path("/proc/sys/fs/aio-nr").read_text()


def _few_requests(world: World, _story: Story) -> None:
    assert int(world.notes.pop("requests")) < _MOST_REQUESTS


def _warm(world: World) -> None:
    """Read the file that the attack evicts from the page cache, as a build does."""
    Path(world.names["COLD"]).read_bytes()


def _still_warm(world: World, _story: Story) -> None:
    with open(world.names["COLD"], "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as pages:
        count = -(-len(pages) // mmap.PAGESIZE)
        here = (ctypes.c_ubyte * count)()
        first = ctypes.c_char.from_buffer(pages)
        assert (
            ctypes.CDLL(None).mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(len(pages)), here) == 0
        )
        del first
        # A successful attack would leave almost nothing; other programs may evict some pages.
        assert sum(here) > 0.5 * count


def _same_flags(world: World, _story: Story) -> None:
    with open(world.names["RUSTC"], "rb") as file:
        try:
            flags = int.from_bytes(fcntl.ioctl(file, _GET_FLAGS, bytes(8)), "little")
        except OSError:
            return
    assert not flags & _NO_DUMP


def _collect_dumps(world: World) -> None:
    """Have the kernel pipe core dumps to a program, as most distributions do."""
    pattern, told = Path("/proc/sys/kernel/core_pattern"), world.folder / "dumps"
    helper = world.folder / "helper"
    helper.write_text(f'#!/bin/sh\necho "$1" >>{told}\n')
    helper.chmod(0o755)
    before = pattern.read_text()
    try:
        pattern.write_text(f"|{helper} %e")
        time.sleep(2.5)
    except OSError:
        return
    finally:
        with contextlib.suppress(OSError):
            pattern.write_text(before)


def _no_dump(world: World, story: Story) -> None:
    told = world.folder / "dumps"
    assert "dump-me" not in (told.read_text() if told.exists() else "")
    assert "crashed" in story.text


CASES = (
    Case(
        "lease",
        "take leases on the compiler and its libraries, so that every process that opens them has to wait",
        _was_quick("lease"),
        program(
            "unsafe { signal(29, 1); }"
            + _TOOLS
            + """
            let mut held = vec![];
            for _ in 0..10 {
                for path in &tools { for kind in [1, 0] { if let Ok(file) = fs::File::open(path) {
                    if unsafe { fcntl(file.as_raw_fd(), 1024, kind) } == 0 { held.push(file); }
                } } }
                nap(50);
            }
            println!("{} leases", held.len());
            if !held.is_empty() { nap(14_000); }""",
            _FCNTL,
        ),
        during=_beside("lease"),
        normal=True,
    ),
    Case(
        "locks",
        "lock the compiler, its libraries and cargo in every way, so that other processes wait for the lock",
        _was_quick("locks"),
        program(
            _TOOLS
            + """
            extern "C" { fn flock(fd: i32, how: i32) -> i32; }
            let mut held = vec![];
            for path in tools.iter().chain(&names("@SYSROOT@")) { if let Ok(file) = fs::File::open(path) {
                let all = [0u64; 4];
                unsafe { println!("{} {} {}", flock(file.as_raw_fd(), 6), fcntl(file.as_raw_fd(), 6, all.as_ptr()), fcntl(file.as_raw_fd(), 37, all.as_ptr())); }
                held.push(file);
            } }
            nap(4_000);""",
            _FCNTL,
        ),
        during=_beside("locks"),
        normal=True,
    ),
    Case(
        "watch-names",
        "learn the names of other users' files, and of other runs' artifacts, with inotify and fanotify",
        _no_names,
        program("""
            extern "C" { fn read(fd: i32, to: *mut u8, n: usize) -> isize; }
            unsafe {
                let fd = syscall(call([294, 26]), 0o4000i64);
                let all = syscall(call([300, 262]), 0x602i64, 0i64);
                let mut places: Vec<String> = ["/tmp", "/var/tmp", "@OUT@", "@FOLDER@", "@SCRATCH@", "@ARTIFACTS@"].map(String::from).to_vec();
                for above in std::env::current_dir().unwrap().ancestors() { places.push(above.display().to_string()); places.push(format!("{}/artifacts", above.display())); }
                for place in &places {
                    let at = c(place);
                    println!("{place} {} {}", syscall(call([254, 27]), fd, at.as_ptr(), 0x3c0i64), syscall(call([301, 263]), all, 1i64, 0x400003c0i64, -100i64, at.as_ptr()));
                }
                let mut data = vec![0u8; 1 << 16];
                let until = Instant::now() + Duration::from_secs(if fd < 0 && all < 0 { 0 } else { 5 });
                while Instant::now() < until {
                    for fd in [fd, all] {
                        let n = read(fd as i32, data.as_mut_ptr(), data.len()).max(0) as usize;
                        let text: String = data[..n].iter().map(|b| if b.is_ascii_graphic() { *b as char } else { ' ' }).collect();
                        for word in text.split_whitespace().filter(|word| word.len() > 8) { println!("{word}"); }
                    }
                    nap(20);
                }
            }"""),
        during=_make_names,
        normal=True,
    ),
    Case(
        "watch-folders",
        "be notified of changes in a folder by a signal (F_NOTIFY)",
        _nothing_got,
        program(
            """
            unsafe { signal(29, 1); }
            for place in ["/usr", "/usr/lib", "@SYSROOT@", "."] { if let Ok(folder) = fs::File::open(place) {
                let done = unsafe { fcntl(folder.as_raw_fd(), 1026, 0x8000003fu32) };
                if done == 0 { println!("GOT {place}"); }
            } }""",
            _FCNTL,
        ),
    ),
    Case(
        "watch-process",
        "wait for the end of another process through a pidfd",
        _nothing_got,
        program("""
            for pid in [@VICTIM@i64, @SERVER@, @NEIGHBOUR_PID@, unsafe { getppid() } as i64] {
                got("process", unsafe { syscall(434, pid, 0i64) });
            }"""),
        normal=True,
    ),
    Case(
        "squat-name",
        "take an abstract socket name, such as the desktop bus's, with one socket of a pair",
        _name_is_free,
        program("""
            extern "C" { fn socketpair(family: i32, kind: i32, protocol: i32, to: *mut i32) -> i32; fn bind(fd: i32, to: *const u8, size: u32) -> i32; fn listen(fd: i32, n: i32) -> i32; }
            unsafe {
                let mut to = vec![1u8, 0, 0];
                to.extend_from_slice(b"squat-@TOKEN@");
                for kind in [1, 5] {
                    let mut pair = [0i32; 2];
                    println!("{} {} {}", socketpair(1, kind, 0, pair.as_mut_ptr()), bind(pair[0], to.as_ptr(), to.len() as u32), listen(pair[0], 5));
                }
            }
            nap(1_500);"""),
        during=_look_for_name,
    ),
    Case(
        "requests",
        "use up the machine's fixed number of asynchronous I/O requests, which databases need",
        _few_requests,
        program("""
            let mut context = 0u64;
            println!("{}", unsafe { syscall(call([206, 0]), 20_000i64, &mut context as *mut u64) });
            nap(1_500);"""),
        during=_count_requests,
    ),
    Case(
        "direct-writes",
        "write more than a run may keep directly to the disk, bypassing the cache, so that others wait for the disk",
        never("written past the cache"),
        program(
            """
            let past = if cfg!(target_arch = "x86_64") { 0o40000 } else { 0o200000 };
            let block = unsafe { mmap(std::ptr::null_mut(), 1 << 20, 3, 0x22, -1, 0) };
            for how in 0..2 {
                let flags = if how == 0 { past } else { 0 };
                let opened = fs::OpenOptions::new().write(true).create(true).custom_flags(flags).open("direct");
                let Ok(file) = opened else { println!("{:?}", opened.err()); continue };
                if how == 1 && unsafe { fcntl(file.as_raw_fd(), 4, past) } != 0 { println!("not set"); continue }
                for _ in 0..20 { unsafe { pwrite(file.as_raw_fd(), block as *const u8, 1 << 20, 0) }; }
                println!("written past the cache");
            }""",
            'extern "C" { fn pwrite(fd: i32, from: *const u8, size: usize, at: i64) -> isize; fn fcntl(fd: i32, what: i32, with: i32) -> i32; }',
        ),
        normal=True,
    ),
    Case(
        "cold-pages",
        "evict the compiler's files from the page cache, so that every build reads them from the disk again",
        _still_warm,
        program(
            """
            nap(1_500);
            extern "C" { fn posix_fadvise(fd: i32, from: i64, n: i64, how: i32) -> i32; }
            let file = fs::File::open("@COLD@").unwrap();
            let size = file.metadata().unwrap().len() as usize;
            unsafe {
                println!("{}", posix_fadvise(file.as_raw_fd(), 0, 0, 4));
                let at = mmap(std::ptr::null_mut(), size, 1, 1, file.as_raw_fd(), 0);
                for how in [20, 21, 4] { println!("{}", madvise(at, size, how)); }
            }"""
        ),
        during=_warm,
        normal=True,
    ),
    Case(
        "file-flags",
        "change the flags of a file that the server's user owns and the run may only read",
        _same_flags,
        program(
            """
            let file = fs::File::open("@RUSTC@").unwrap();
            let mut flags = 0u64;
            unsafe {
                println!("{}", ioctl(file.as_raw_fd(), 0x80086601, &mut flags as *mut u64));
                flags |= 0x40;
                println!("{}", ioctl(file.as_raw_fd(), 0x40086602, &mut flags as *mut u64));
            }""",
            _FCNTL,
        ),
        normal=True,
    ),
    Case(
        "core-dump",
        "crash, so that the machine's own program for core dumps is started and keeps the dump",
        _no_dump,
        program("""
            if told("crash") { unsafe { *(8 as *mut u8) = 1; } }
            nap(1_000);
            fs::copy(std::env::current_exe().unwrap(), "dump-me");
            let none = [0u64; 2];
            for limit in [false, true] {
                if limit { println!("{}", unsafe { setrlimit(4, &none) }); }
                println!("crashed {:?}", Command::new("./dump-me").arg("crash").status());
            }"""),
        during=_collect_dumps,
    ),
    Case(
        "event-watches",
        "use up the epoll watches of the server's user, which the server itself needs",
        never("WATCHED"),
        program("""
            let epoll = unsafe { syscall(call([291, 20]), 0i64) };
            let event = [1u32, 0, 0, 0];
            let (pipe, _other) = io::pipe().unwrap();
            let added = unsafe { syscall(call([233, 21]), epoll, 1i64, pipe.as_raw_fd() as i64, event.as_ptr()) };
            println!("{}", if added == 0 { "WATCHED" } else { "refused" });"""),
        normal=True,
    ),
    Case(
        "seccomp-filters",
        "add its own seccomp filters, to fill the memory that all filters on the machine share, and the kernel's log",
        never("ADDED"),
        program("""
            let allow = [6u64 | 0x7fff_0000 << 32];
            let filter = [1u64, allow.as_ptr() as u64];
            let listened = unsafe { syscall(call([317, 277]), 1i64, 8i64, filter.as_ptr()) };
            let by_call = unsafe { syscall(call([317, 277]), 1i64, 0i64, filter.as_ptr()) };
            let by_prctl = unsafe { syscall(call([157, 167]), 22i64, 2i64, filter.as_ptr()) };
            for (how, added) in [("listener", listened), ("seccomp", by_call), ("prctl", by_prctl)] {
                println!("{how} {}", if added >= 0 { "ADDED" } else { "refused" });
            }"""),
        normal=True,
    ),
    Case(
        "pending-signals",
        "use up the timers and queued signals that the server's user may have",
        never("TOOK"),
        program("""
            extern "C" { fn sigprocmask(how: i32, set: *const u64, old: *mut u64) -> i32; }
            let queued = 34i64;
            let set = [1u64 << (queued - 1), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            unsafe { sigprocmask(0, set.as_ptr(), std::ptr::null_mut()) };
            let me = std::process::id() as i64;
            let information = [queued as u32, 0, -1i32 as u32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let mut signals = 0;
            while signals < 5000 && unsafe { syscall(call([129, 138]), me, queued, information.as_ptr()) } == 0 { signals += 1; }
            let (mut timers, mut timer) = (0, 0i32);
            let event = [0u64, queued as u64, 0, 0, 0, 0, 0, 0];
            while timers < 5000 && unsafe { syscall(call([222, 107]), 1i64, event.as_ptr(), &mut timer) } == 0 { timers += 1; }
            println!("{signals} signals and {timers} timers {}", if signals + timers < 5000 { "held" } else { "TOOK" });"""),
        normal=True,
    ),
    Case(
        "disk-in-flight",
        "write 2 GB to deleted files whose descriptors are in transit in a socket, so that no process has them open",
        bounded("disk", "shared"),
        program("""
            extern "C" { fn socketpair(family: i32, kind: i32, protocol: i32, to: *mut i32) -> i32; fn sendmsg(fd: i32, message: *const u64, flags: i32) -> isize; }
            let block = vec![1u8; 8 << 20];
            let mut sent = 0;
            'all: for pair in 0..10 { unsafe {
                let mut ends = [0i32; 2];
                socketpair(1, 1, 0, ends.as_mut_ptr());
                for _ in 0..24 { if let Ok(mut file) = fs::File::create("gone") {
                    fs::remove_file("gone");
                    let _ = file.write_all(&block);
                    let byte = [0u8];
                    let part = [byte.as_ptr() as u64, 1];
                    let control = [20u64, 1 | 1 << 32, file.as_raw_fd() as u64];
                    let message = [0, 0, part.as_ptr() as u64, 1, control.as_ptr() as u64, 24, 0];
                    if sendmsg(ends[0], message.as_ptr(), 0x40) != 1 { break 'all; }
                    sent += 1;
                } }
            } }
            println!("{sent} in flight");
            nap(1500);"""),
        where="tight",
    ),
)
