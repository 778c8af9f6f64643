"""System calls that only attackers need, and the kernel objects they would leave behind."""
# ruff: noqa: E501  (programs in another language stand in these lines)

import ctypes
import os
from pathlib import Path

from tests.attacks.case import Case, Story, never, program, unseen
from tests.attacks.world import World


def _nothing_got(_world: World, story: Story) -> None:
    assert "GOT" not in story.text


def _no_segment(world: World, _story: Story) -> None:
    table = Path("/proc/sysvipc/shm")
    rows = [line.split() for line in table.read_text().splitlines()[1:]] if table.exists() else []
    left = [int(row[1]) for row in rows if int(row[0]) == int(world.names["KEY"])]
    for segment in left:
        ctypes.CDLL(None).shmctl(segment, 0, None)
    assert not left


def _no_queue(world: World, _story: Story) -> None:
    name = f"/attacks-{world.token}".encode()
    library = ctypes.CDLL("librt.so.1")
    queue = library.mq_open(name, os.O_RDONLY)
    if queue >= 0:
        library.mq_unlink(name)
    assert queue < 0


def _not_mounted(world: World, story: Story) -> None:
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if f"attacks-{world.token}" in line]
    for line in mounts:
        ctypes.CDLL(None).umount2(line.split()[1].encode(), 2)
    assert not mounts
    assert "MOUNTED" not in story.text


CASES = (
    Case(
        "ptrace",
        "attach to another process as a debugger and read its memory",
        unseen("memory"),
        program("""
            unsafe {
                println!("{}", syscall(call([101, 117]), 16i64, @VICTIM@i64, 0i64, 0i64));
                nap(100);
                let mut data = vec![];
                for at in 0..8i64 {
                    let mut word = 0i64;
                    syscall(call([101, 117]), 1i64, @VICTIM@i64, @ADDRESS@i64 + at * 8, &mut word as *mut i64);
                    data.extend_from_slice(&word.to_ne_bytes());
                }
                hush(&data);
                syscall(call([101, 117]), 17i64, @VICTIM@i64, 0i64, 0i64);
            }"""),
    ),
    Case(
        "process-vm",
        "read another process's memory with process_vm_readv",
        unseen("memory"),
        program("""
            let mut data = [0u8; 64];
            let mine = [data.as_mut_ptr() as u64, 64];
            let its = [@ADDRESS@u64, 64];
            println!("{}", unsafe { syscall(call([310, 270]), @VICTIM@i64, mine.as_ptr(), 1i64, its.as_ptr(), 1i64, 0i64) });
            hush(&data);"""),
    ),
    Case(
        "pidfd-getfd",
        "copy an open descriptor from another process",
        _nothing_got,
        program("""
            let fd = unsafe { syscall(434, @VICTIM@i64, 0i64) };
            got("file", unsafe { syscall(438, fd, 1i64, 0i64) });"""),
    ),
    Case(
        "bpf",
        "load something into the kernel with bpf",
        _nothing_got,
        program("""
            let map = [1u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0];
            got("map", unsafe { syscall(call([321, 280]), 0i64, map.as_ptr(), 48i64) });
            let array = [2u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0];
            got("map", unsafe { syscall(call([321, 280]), 0i64, array.as_ptr(), 48i64) });"""),
    ),
    Case(
        "userfaultfd",
        "handle the kernel's own page faults, which makes races in the kernel easy to win",
        _nothing_got,
        program("""
            got("userfaultfd", unsafe { syscall(call([323, 282]), 0i64) });
            got("userfaultfd", unsafe { syscall(call([323, 282]), 1i64) });
            println!("{:?}", fs::File::open("/dev/userfaultfd").map(|_| println!("GOT /dev/userfaultfd")));"""),
    ),
    Case(
        "io-uring",
        "open files and sockets through io_uring, which no system call filter sees",
        _nothing_got,
        program("""
            let mut parameters = [0u8; 120];
            got("io_uring", unsafe { syscall(425, 4i64, parameters.as_mut_ptr()) });"""),
    ),
    Case(
        "perf",
        "watch the machine with performance counters",
        _nothing_got,
        program("""
            let mut wanted = [0u8; 128];
            wanted[0] = 1; wanted[4] = 128;
            for pid in [0i64, -1, @VICTIM@] {
                got("counter", unsafe { syscall(call([298, 241]), wanted.as_ptr(), pid, if pid == -1 { 0i64 } else { -1 }, -1i64, 0i64) });
            }"""),
    ),
    Case(
        "open-by-handle",
        "open a file by its kernel handle, without a path",
        unseen("file"),
        program("""
            let handle: &[u8] = &[@HANDLE@];
            for top in [".", "/", "/usr", "/tmp", "/proc/self/exe"] {
                let Ok(top) = fs::File::open(top) else { continue };
                let fd = unsafe { syscall(call([304, 265]), top.as_raw_fd() as i64, handle.as_ptr(), 0i64) };
                println!("{fd}");
                if fd >= 0 {
                    let mut data = vec![];
                    unsafe { fs::File::from_raw_fd(fd as i32) }.read_to_end(&mut data);
                    hush(&data);
                }
            }"""),
    ),
    Case(
        "mount",
        "mount a file system, with the old system calls and the new ones",
        _not_mounted,
        program("""
            fs::create_dir("here");
            for place in ["here", "@OUT@/link"] {
                println!("{}", unsafe { mount(c("attacks-@TOKEN@").as_ptr(), c(place).as_ptr(), c("tmpfs").as_ptr(), 0, std::ptr::null()) });
                println!("{}", unsafe { mount(c("/").as_ptr(), c(place).as_ptr(), std::ptr::null(), 4096, std::ptr::null()) });
            }
            let fs_fd = unsafe { syscall(430, c("tmpfs").as_ptr(), 0i64) };
            if fs_fd >= 0 { println!("MOUNTED fsopen"); }
            let tree = unsafe { syscall(428, -100i64, c("/").as_ptr(), 1i64) };
            if tree >= 0 { println!("MOUNTED open_tree"); }
            let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
            if table.contains("attacks-@TOKEN@") { println!("MOUNTED tmpfs"); }
            extern "C" { fn umount2(at: *const c_char, flags: i32) -> i32; }
            unsafe { umount2(c("@OUT@/link").as_ptr(), 2); umount2(c("here").as_ptr(), 2); }"""),
    ),
    Case(
        "user-namespace",
        "become root in its own user namespace, which opens up most of the kernel's rarely used code",
        never("ROOT"),
        program("""
            let capable = || fs::read_to_string("/proc/self/status").unwrap_or_default().lines()
                .any(|line| line.starts_with("CapEff:") && line != "CapEff:\\t0000000000000000");
            for way in 0..3 {
                unsafe {
                    let mut pid = 0;
                    if way == 2 {
                        let mut arguments = [0u64; 11];
                        arguments[0] = 0x10000000; arguments[4] = 17;
                        pid = syscall(435, arguments.as_mut_ptr(), 88i64) as i32;
                    } else if way == 1 {
                        pid = syscall(call([56, 220]), 0x10000011i64, 0i64, 0i64, 0i64, 0i64) as i32;
                    } else {
                        pid = fork();
                        if pid == 0 { println!("{}", unshare(0x10000000)); }
                    }
                    if pid == 0 {
                        if capable() { println!("ROOT {way}"); }
                        let _ = fs::write("/proc/self/setgroups", "deny");
                        if fs::write("/proc/self/uid_map", format!("0 {} 1", geteuid())).is_ok() && geteuid() == 0 { println!("ROOT mapped {way}"); }
                        exit(0);
                    }
                }
            }
            nap(300);"""),
    ),
    Case(
        "setns",
        "enter the namespaces of another process",
        never("ENTERED"),
        program("""
            for pid in [1, @VICTIM@, @SERVER@, unsafe { getppid() }] {
                for kind in ["mnt", "net", "user", "pid", "ipc", "uts"] {
                    let Ok(file) = fs::File::open(format!("/proc/{pid}/ns/{kind}")) else { continue };
                    let done = unsafe { syscall(call([308, 268]), file.as_raw_fd() as i64, 0i64) };
                    if done == 0 { println!("ENTERED {kind} of {pid}"); }
                }
            }"""),
    ),
    Case(
        "chroot",
        "change its root folder, the first step out of a weaker sandbox",
        never("CHANGED"),
        program("""
            fs::create_dir("cage");
            if unsafe { chroot(c("cage").as_ptr()) } == 0 { println!("CHANGED root"); }
            if unsafe { syscall(call([155, 41]), c(".").as_ptr(), c(".").as_ptr()) } == 0 { println!("CHANGED pivot"); }"""),
    ),
    Case(
        "keyring",
        "leave data in the user's keyring, where a later run finds it",
        unseen("other"),
        program("""
            for ring in [-4i64, -5] {
                let key = unsafe { syscall(call([250, 219]), 10i64, ring, c("user").as_ptr(), c("attacks-@TOKEN@").as_ptr(), 0i64) };
                let mut data = [0u8; 64];
                let n = unsafe { syscall(call([250, 219]), 11i64, key, data.as_mut_ptr(), 64i64) };
                println!("{key} {n}");
                hush(&data);
                let _ = unsafe { syscall(call([250, 219]), 3i64, key) };
            }"""),
        first=(
            program("""
            let text = "@OTHER@";
            println!("{}", unsafe { syscall(call([248, 217]), c("user").as_ptr(), c("attacks-@TOKEN@").as_ptr(), text.as_ptr(), text.len() as i64, -4i64) });
            """),
            "cargo run",
        ),
    ),
    Case(
        "shared-memory",
        "leave a System V segment behind, which outlives its creator and can be opened by any other run",
        _no_segment,
        program('println!("{}", unsafe { syscall(call([29, 194]), @KEY@i64, 65536i64, 0o1666i64) });'),
    ),
    Case(
        "message-queue",
        "leave a POSIX message queue behind",
        _no_queue,
        program("""
            println!("{}", unsafe { syscall(call([240, 180]), c("attacks-@TOKEN@").as_ptr(), 0o102i64, 0o666i64, 0i64) });"""),
    ),
    Case(
        "calls-of-root",
        "make system calls that are reserved for root: process accounting, swap, kernel modules, the clock, hanging up the terminal",
        _nothing_got,
        program("""
            // A refusal for want of rights says so; any other error means that the call got past the walls.
            let nowhere = c("/nowhere/at-all");
            for (name, n, first) in [("acct", call([163, 89]), 0), ("swapoff", call([168, 225]), nowhere.as_ptr() as i64),
                              ("delete_module", call([176, 106]), nowhere.as_ptr() as i64), ("clock_settime", call([227, 112]), 0)] {
                let done = unsafe { syscall(n, first, 0i64, 0i64) };
                let error = io::Error::last_os_error().raw_os_error();
                println!("{name} {done} {error:?}");
                if done == 0 || !matches!(error, Some(1) | Some(38) | Some(14)) { println!("GOT {name}"); }
            }"""),
    ),
    Case(
        "terminal",
        "type into the terminal that the server was started from",
        never("TYPED"),
        program("""
            extern "C" { fn ioctl(fd: i32, what: u64, ...) -> i32; }
            let tty = fs::OpenOptions::new().read(true).write(true).open("/dev/tty");
            println!("{tty:?}");
            for fd in [0, 1, 2].into_iter().chain(tty.iter().map(|file| file.as_raw_fd())) {
                if unsafe { ioctl(fd, 0x5412, b"#".as_ptr()) } == 0 { println!("TYPED {fd}"); }
            }"""),
    ),
)
