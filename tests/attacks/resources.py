"""Attacks that exhaust the machine. Every bomb ends by itself, so that a hole fails the test but spares the machine."""
# ruff: noqa: E501  (programs in another language stand in these lines)

from app.sandbox import may_give
from tests.attacks.case import MANIFEST, Case, Check, Story, both, build_script, never, program
from tests.attacks.world import World
from tests.support.environment import SLOWER_BY

_MB = 1 << 20
# Two attacks and an honest run are in progress at once, each within the small limits; an unlimited bomb uses far more.
_MOST = {
    "memory": 1600 * _MB,
    "shared": 900 * _MB,
    "server": 200 * _MB,
    "tasks": 700,
    # The kernel limits processes by user. For a run of the server's own user, only the watcher counts them.
    "descriptors": 20_000 if may_give() else 30_000,
    "disk": 900 * _MB,
    "files": 9_000,
    "largest": 80 * _MB,
}


def bounded(*names: str, seconds: float = 22) -> Check:
    """Check that these measures and the server's memory stayed low, and that the run ended."""

    def held(_world: World, story: Story) -> None:
        for name in (*names, "server"):
            assert story.peaks[name] < _MOST[name], f"{name}: {story.peaks[name]:,.0f}"
        assert story.seconds < seconds * SLOWER_BY

    return held


def _little_said(_world: World, story: Story) -> None:
    assert len(story.raw) < 3 * (256 << 10) + (64 << 10)
    assert len(story.events) < 2000


_GROW = """
    let mut held: Vec<Vec<u8>> = vec![];
    for _ in 0..128 { held.push(vec![1; 32 << 20]); }
    println!("{} MB", held.len() * 32);
"""
_FLOOD = both(bounded(), _little_said)


def _case(id_: str, tries: str, held: Check, source: str, manifest: str = MANIFEST, **more: object) -> Case:
    return Case(id_, tries, held, source, manifest, where="tight", **more)  # type: ignore[arg-type]  # options of several types


CASES = (
    _case(
        "fork-bomb",
        "start 2,000 processes",
        bounded("tasks"),
        program("""
            for _ in 0..2000 { unsafe { if fork() == 0 { nap(6000); exit(0); } } }
            nap(1500);"""),
    ),
    _case(
        "fork-bomb-scattered",
        "start 2,000 processes that leave the session and their parents",
        bounded("tasks"),
        program("""
            for _ in 0..2000 {
                unsafe { if fork() == 0 { setsid(); if fork() == 0 { nap(6000); } exit(0); } }
            }
            nap(1500);"""),
    ),
    _case(
        "thread-bomb",
        "start 3,000 threads in one process",
        bounded("tasks"),
        program("""
            for _ in 0..3000 { let _ = thread::Builder::new().stack_size(16384).spawn(|| nap(6000)); }
            nap(1000);"""),
    ),
    _case(
        "memory-at-run-time",
        "use 4 GB in one process",
        bounded("memory"),
        program(_GROW),
    ),
    _case(
        "memory-of-many",
        "use 4 GB in twenty processes, each of them below the limit",
        bounded("memory"),
        program("""
            for _ in 0..20 { unsafe { if fork() == 0 { let held = vec![1u8; 200 << 20]; nap(3000); exit(held[5] as i32); } } }
            nap(3500);"""),
    ),
    _case(
        "memory-in-build-script",
        "use 4 GB in a build script",
        bounded("memory"),
        *build_script(_GROW),
        command="cargo build",
        begun=False,
    ),
    _case(
        "memory-in-const",
        "make the compiler evaluate an array of 3 GB",
        bounded("memory"),
        "const BIG: [u8; 3 << 30] = [7; 3 << 30];\nstatic HELD: &[u8] = &BIG;\n"
        'fn main() { println!("{}", HELD[std::env::args().count()]); }',
        begun=False,
    ),
    _case(
        "memory-in-macro",
        "make the compiler double a macro's tokens 23 times",
        bounded("memory"),
        '#![recursion_limit = "24"]\nmacro_rules! twice { ($($t:tt)*) => { twice!($($t)* $($t)*) } }\n'
        "fn main() { twice!(a b) }",
        begun=False,
    ),
    _case(
        "memory-in-static",
        "make the compiler write an array of 1 GB into the program",
        bounded("memory", "largest"),
        "static mut BIG: [u64; 1 << 27] = [0x0123_4567_89ab_cdef; 1 << 27];\n"
        'fn main() { println!("{}", unsafe { BIG[std::env::args().count()] }); }',
        begun=False,
    ),
    _case(
        "memory-in-files",
        "fill 3 GB of files that exist in memory only (memfd)",
        bounded("shared"),
        program("""
            let block = vec![1u8; 4 << 20];
            let mut held = vec![];
            for _ in 0..200 {
                let fd = unsafe { syscall(call([319, 279]), c("x").as_ptr(), 0i64) };
                if fd < 0 { break; }
                let mut file = unsafe { fs::File::from_raw_fd(fd as i32) };
                for _ in 0..4 { if file.write_all(&block).is_err() { break; } }
                held.push(file);
            }
            println!("{}", held.len());
            nap(1500);"""),
    ),
    _case(
        "memory-out-of-sight",
        "fill 3 GB of shared memory and unmap it",
        bounded("shared"),
        program("""
            for _ in 0..48 {
                let size = 64 << 20;
                let at = unsafe { mmap(std::ptr::null_mut(), size, 3, 0x21, -1, 0) };
                if at as isize == -1 { break; }
                for page in (0..size).step_by(4096) { unsafe { *at.add(page) = 1; } }
                unsafe { madvise(at, size, 4); }
            }
            nap(1500);"""),
    ),
    _case(
        "memory-in-tmp",
        "fill /dev/shm, /tmp and every other writable folder outside the crate",
        bounded("shared", "disk"),
        program("""
            let block = vec![1u8; 8 << 20];
            for top in ["/dev/shm", "/tmp", "/var/tmp", "/run", "/playground", "..", "../home", "/dev"] {
                for number in 0..40 {
                    let path = format!("{top}/mark-{}-{number}", std::process::id());
                    let Ok(mut file) = fs::File::create(&path) else { break };
                    let full = file.write_all(&block).is_err();
                    fs::remove_file(&path);
                    std::mem::forget(file);
                    if full { break; }
                }
            }
            nap(1500);"""),
    ),
    _case(
        "disk",
        "write 2 GB in files of 8 MB",
        bounded("disk", "shared"),
        program("""
            let block = vec![1u8; 8 << 20];
            for number in 0..256 { if fs::write(format!("f{number}"), &block).is_err() { nap(5); } }
            nap(1000);"""),
    ),
    _case(
        "disk-deleted",
        "write 2 GB to files that are deleted but open, which no listing shows",
        bounded("disk", "shared"),
        program("""
            let block = vec![1u8; 8 << 20];
            let mut held = vec![];
            for number in 0..240 {
                if let Ok(mut file) = fs::File::create("gone") { fs::remove_file("gone"); let _ = file.write_all(&block); held.push(file); }
            }
            println!("{}", held.len());
            nap(1500);"""),
    ),
    _case(
        "disk-of-a-thread",
        "write 2 GB to deleted files that only one thread has open, so that the process does not list them",
        bounded("disk", "shared"),
        program(
            """
            let alone = thread::spawn(|| {
                println!("{}", unsafe { syscall(436, 1000i64, 1001i64, 2i64) });
                fill();
            });
            let stack = vec![0u8; 1 << 20].leak();
            let top = unsafe { stack.as_mut_ptr().add(1 << 20) };
            println!("{}", unsafe { clone(other, top, 0x50f00 & !0x400, std::ptr::null_mut()) });
            alone.join();
            nap(1500);""",
            """
            extern "C" { fn clone(f: extern "C" fn(*mut u8) -> i32, stack: *mut u8, flags: i32, arg: *mut u8) -> i32; }
            extern "C" fn other(_: *mut u8) -> i32 { fill(); nap(1500); 0 }
            fn fill() {
                let block = vec![1u8; 8 << 20];
                for _ in 0..120 {
                    let name = format!("gone-{:?}", Instant::now());
                    if let Ok(mut file) = fs::File::create(&name) { fs::remove_file(&name); let _ = file.write_all(&block); std::mem::forget(file); }
                }
            }""",
        ),
    ),
    _case(
        "memory-of-names",
        "map a file 60,000 times whose path takes 15 KB, so that the watcher reads gigabytes of paths",
        both(bounded(), never("kept it all")),
        program(r"""
            let name = "\n".repeat(250);
            for _ in 0..15 { fs::create_dir(&name); std::env::set_current_dir(&name).unwrap(); }
            let file = fs::File::create_new("f").unwrap();
            for number in 0..60_000 {
                let at = unsafe { mmap(std::ptr::null_mut(), 4096, number % 2, 2, file.as_raw_fd(), 0) };
                if at as isize == -1 { println!("{number}: {}", io::Error::last_os_error()); break; }
            }
            nap(3000);
            println!("kept it all");"""),
    ),
    _case(
        "disk-mapped",
        "write 2 GB to deleted files of which no process has more than one mapped page",
        bounded("disk", "shared"),
        program("""
            let block = vec![1u8; 8 << 20];
            for number in 0..240 {
                let Ok(mut file) = fs::OpenOptions::new().create_new(true).read(true).write(true).open("gone") else { break };
                fs::remove_file("gone");
                let at = unsafe { mmap(std::ptr::null_mut(), 4096, 1, 1, file.as_raw_fd(), 0) };
                if at as isize == -1 || file.write_all(&block).is_err() { break; }
            }
            nap(1500);"""),
    ),
    _case(
        "disk-allocated",
        "reserve 2 GB with fallocate, beyond the end of the file",
        bounded("disk", "shared"),
        program("""
            let file = fs::File::create("f").unwrap();
            let done = unsafe { syscall(call([285, 47]), file.as_raw_fd() as i64, 1i64, 0i64, 2i64 << 30) };
            println!("{done}");
            nap(1500);"""),
    ),
    _case(
        "one-large-file",
        "write one file of 1 GB, after raising the limit",
        bounded("largest"),
        program("""
            unsafe { signal(25, 1); setrlimit(1, &[u64::MAX, u64::MAX]); }
            let block = vec![1u8; 8 << 20];
            let mut file = fs::File::create("f").unwrap();
            for _ in 0..128 { if file.write_all(&block).is_err() { break; } }
            nap(500);"""),
    ),
    _case(
        "sparse-file",
        "make a sparse file of 10 GB",
        bounded("largest"),
        program("""
            unsafe { signal(25, 1); }
            println!("{:?}", fs::File::create("f").and_then(|file| file.set_len(10 << 30)));
            nap(500);"""),
    ),
    _case(
        "files",
        "make 20,000 files and folders",
        bounded("files"),
        program("""
            for number in 0..10_000 { let _ = fs::write(format!("f{number}"), ""); let _ = fs::create_dir(format!("d{number}")); }
            nap(1000);"""),
    ),
    _case(
        "files-in-tmp",
        "make 20,000 files outside the crate, in /tmp",
        bounded("files"),
        program("""
            for number in 0..20_000 { if fs::write(format!("/tmp/f{number}"), "").is_err() { break; } }
            nap(1000);"""),
    ),
    _case(
        "file-attributes",
        "keep data in the extended attributes of files, which use memory in a tmpfs and are not counted",
        never("SET"),
        program("""
            fs::write("f", "");
            let data = vec![1u8; 1000];
            for number in 0..100 {
                let name = c(&format!("user.{number}"));
                let set = unsafe { syscall(call([188, 5]), c("f").as_ptr(), name.as_ptr(), data.as_ptr(), data.len(), 0i64) };
                println!("{}", if set == 0 { "SET" } else { "not" });
            }"""),
    ),
    _case(
        "memory-in-sockets",
        "leave 1.4 GB of kernel memory in pairs of sockets that nobody reads",
        never("kept it all"),
        program("""
            let block = vec![1u8; 65536];
            for _ in 0..30 { unsafe { if fork() == 0 {
                let mut held = vec![];
                while let Ok((a, b)) = unet::UnixStream::pair() {
                    for end in [&a, &b] { end.set_nonblocking(true); while (&*end).write(&block).is_ok() {} }
                    held.push((a, b));
                }
                nap(3000);
                exit(0);
            } } }
            nap(3500);
            println!("kept it all");"""),
    ),
    _case(
        "memory-behind-a-dead-thread",
        "use 1.6 GB in a process whose first thread has ended, for which the kernel reports no memory",
        bounded("memory"),
        program("""
            thread::spawn(|| {
                let mut held: Vec<Vec<u8>> = vec![];
                for _ in 0..50 { held.push(vec![1; 32 << 20]); }
                println!("{} MB", held.len() * 32);
                nap(2000);
                exit(0);
            });
            unsafe { syscall(call([60, 93]), 0i64); }"""),
    ),
    _case(
        "descriptors",
        "open 100,000 files at once, in 100 processes",
        bounded("descriptors"),
        program("""
            for _ in 0..100 {
                unsafe { if fork() == 0 {
                    let mut held = vec![];
                    for _ in 0..1000 { if let Ok(file) = fs::File::open("/dev/null") { held.push(file); } }
                    nap(3000); exit(0);
                } }
            }
            nap(3000);"""),
    ),
    _case(
        "cpu",
        "compute forever in sixteen threads",
        bounded(seconds=14),
        program(
            "for _ in 0..15 { thread::spawn(|| loop { std::hint::spin_loop() }); } loop { std::hint::spin_loop() }"
        ),
    ),
    _case(
        "compile-for-ever",
        "make the compiler compute forever",
        bounded(seconds=14),
        "#![allow(long_running_const_eval)]\nconst fn turn() -> u8 { loop {} }\nconst NEVER: u8 = turn();\n"
        'fn main() { println!("{NEVER}"); }',
        begun=False,
    ),
    _case(
        "sleep-for-ever",
        "do nothing forever and ignore signals",
        bounded(seconds=14),
        program("for n in 1..65 { unsafe { signal(n, 1); } } loop { nap(1000); }"),
    ),
    _case(
        "flood-lines",
        "print endless lines on both streams",
        _FLOOD,
        program('loop { println!("{}", "x".repeat(99)); eprintln!("{}", "y".repeat(99)); }'),
    ),
    _case(
        "flood-without-lines",
        "print 1 GB without a line end",
        _FLOOD,
        program("""
            let block = vec![b'x'; 1 << 20];
            for _ in 0..1024 { if io::stdout().write_all(&block).is_err() { break; } let _ = io::stdout().flush(); }"""),
    ),
    _case(
        "flood-errors",
        "print 1 GB on standard error, in lines that begin like cargo's errors",
        _FLOOD,
        program("""
            let block = "error: \\n".repeat(1 << 17).into_bytes();
            for _ in 0..1024 { if io::stderr().write_all(&block).is_err() { break; } }"""),
    ),
    _case(
        "flood-escapes",
        "print escape sequences that never end, and bytes that are not text",
        _FLOOD,
        program("""
            let mut block = b"\\x1b]8;;\\x1b[\\x1b[38;2;1;2;3;4;5;6;7;8;9m\\xff\\xfe\\xf0\\x9f\\x00\\x08".repeat(1 << 14);
            for _ in 0..1024 { if io::stdout().write_all(&block).is_err() { break; } }"""),
    ),
    _case(
        "flood-of-warnings",
        "make the compiler print thousands of warnings",
        _FLOOD,
        "#![warn(unused)]\nmacro_rules! m { ($($n:ident)*) => { $(fn $n() { let very_long_name_of_a_variable = 1; })* } }\n"
        "macro_rules! many { ($($n:ident)*) => { $(mod $n { m!(a b c d e f g h i j k l n o p q r s t u v w x y z); })* } }\n"
        + "".join(f"mod m{n} {{ many!(a b c d e f g h i j k l n o p q r s t u v w x y z); }}\n" for n in range(20))
        + "fn main() {}",
        begun=False,
    ),
    _case(
        "flood-cargo",
        "write 1 GB without a line end to cargo's own output, bypassing the build script's",
        _FLOOD,
        *build_script("""
            let block = vec![b'x'; 1 << 20];
            let into = format!("/proc/{}/fd/1", unsafe { getppid() });
            if let Ok(mut out) = fs::OpenOptions::new().write(true).open(into) {
                for _ in 0..1024 { if out.write_all(&block).is_err() { break; } }
            }"""),
        command="cargo build",
        begun=False,
    ),
    _case(
        "flood-cargo-errors",
        "write 1 GB of text that looks like cargo's errors to cargo's own standard error",
        _FLOOD,
        *build_script("""
            let block = "error: x\\n".repeat(1 << 17).into_bytes();
            let into = format!("/proc/{}/fd/2", unsafe { getppid() });
            if let Ok(mut out) = fs::OpenOptions::new().write(true).open(into) {
                for _ in 0..1024 { if out.write_all(&block).is_err() { break; } }
            }"""),
        command="cargo build",
        begun=False,
    ),
)
