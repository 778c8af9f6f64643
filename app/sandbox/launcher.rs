//! The last step before a stranger's program runs: limits, walls, then `exec`.
//!
//! `launcher [OPTION…] -- PROGRAM [ARGUMENT…]`
//!
//!   --reap              stay as the parent, and kill every descendant when PROGRAM ends or SIGTERM arrives
//!   --init              stay as the first process of a new namespace, which ends with PROGRAM and takes all others along
//!   --user UID:GID      become that user, with no further groups; every capability is given up in any case
//!   --userns            enter a user namespace of one's own, if the system lets us
//!   --limit NAME=VALUE  a resource limit: cpu (s), fsize, as (bytes), nofile, nproc
//!   --landlock ABI      build the Landlock wall with what version ABI of it knows; the paths that may be used:
//!   --ro PATH           read and execute; nothing happens when it does not exist
//!   --rw PATH           all but devices and sockets
//!   --dev PATH          read and write a device that exists
//!   --seccomp           refuse the system calls below
//!   --alive FD          a pipe of which only the server holds the other end: with --init or --reap, end when it hangs up
//!   --pass              leave all descriptors to PROGRAM, which is bubblewrap with another launcher inside
//!   --observe FD:SECONDS  watch the program as its tracer and write what was seen to FD; see observe.rs
//!
//! It is compiled once by set-up, because what it does must be done in the process that becomes the program, within
//! a millisecond. It ends with 125 and a sentence on standard error when a wall cannot be built: then nothing runs.

mod observe;

use std::ffi::{c_char, c_int, c_long, c_ulong, CString};
use std::fs;
use std::process::exit;
use std::sync::atomic::{AtomicI32, Ordering};

extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn prctl(option: c_int, ...) -> c_int;
    fn setrlimit(resource: c_int, limit: *const [u64; 2]) -> c_int;
    fn setgroups(count: usize, groups: *const u32) -> c_int;
    fn setresgid(real: u32, effective: u32, saved: u32) -> c_int;
    fn setresuid(real: u32, effective: u32, saved: u32) -> c_int;
    fn unshare(flags: c_int) -> c_int;
    fn fork() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn signal(signal: c_int, handler: usize) -> usize;
    fn open(path: *const c_char, flags: c_int) -> c_int;
    fn close(fd: c_int) -> c_int;
    fn execvp(file: *const c_char, argv: *const *const c_char) -> c_int;
    fn poll(entries: *mut Polled, count: c_ulong, milliseconds: c_int) -> c_int;
    fn nice(more: c_int) -> c_int;
}

const O_PATH_CLOEXEC: c_int = 0o10000000 | 0o2000000;
const PR_SET_PDEATHSIG: c_int = 1;
const PR_SET_DUMPABLE: c_int = 4;
const PR_SET_SECCOMP: c_int = 22;
const PR_SET_CHILD_SUBREAPER: c_int = 36;
const PR_SET_NO_NEW_PRIVS: c_int = 38;
const PR_CAP_AMBIENT: c_int = 47;
const PR_CAP_AMBIENT_CLEAR_ALL: c_ulong = 4;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
const LIKELY_TO_GO: &str = "500";
const SIGKILL: c_int = 9;
const SIGSTOP: c_int = 19;
const POLITE: c_int = 10;
const SIGTERM: c_int = 15;
const CLONE_NEWUSER: c_int = 0x1000_0000;
const LANDLOCK_CREATE_RULESET: c_long = 444;
const LANDLOCK_ADD_RULE: c_long = 445;
const LANDLOCK_RESTRICT_SELF: c_long = 446;
const CLOSE_RANGE: c_long = 436;
const PIDFD_OPEN: c_long = 434;
const NO_DESCRIPTOR: c_int = -1;
const POLLIN: i16 = 1;
const WNOHANG: c_int = 1;
/// How long the end of somebody else's orphan may wait for us.
const ORPHANS_MILLISECONDS: c_int = 50;

fn fail(what: &str) -> ! {
    eprintln!("the sandbox cannot be built: {}: {}", what, std::io::Error::last_os_error());
    exit(125)
}

fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_else(|_| fail("an argument holds a NUL"))
}

#[derive(Default)]
struct Options {
    reap: bool,
    init: bool,
    user: Option<(u32, u32)>,
    userns: bool,
    limits: Vec<(c_int, u64)>,
    landlock: u32,
    ro: Vec<String>,
    rw: Vec<String>,
    dev: Vec<String>,
    seccomp: bool,
    alive: c_int,
    pass: bool,
    observe: Option<(c_int, f64)>,
    program: Vec<CString>,
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| fail("an option's number"))
}

fn limit(text: &str) -> (c_int, u64) {
    let (name, value) = text.split_once('=').unwrap_or_else(|| fail("--limit"));
    let resource = match name {
        "cpu" => 0,
        "fsize" => 1,
        "nproc" => 6,
        "nofile" => 7,
        "as" => 9,
        _ => fail("--limit"),
    };
    (resource, number(value))
}

fn options() -> Options {
    let mut found = Options { alive: NO_DESCRIPTOR, ..Options::default() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| fail("an option lacks its value"));
        match word.as_str() {
            "--" => break,
            "--reap" => found.reap = true,
            "--init" => found.init = true,
            "--userns" => found.userns = true,
            "--seccomp" => found.seccomp = true,
            "--landlock" => found.landlock = number(&value()),
            "--limit" => found.limits.push(limit(&value())),
            "--ro" => found.ro.push(value()),
            "--rw" => found.rw.push(value()),
            "--dev" => found.dev.push(value()),
            "--alive" => found.alive = number(&value()),
            "--pass" => found.pass = true,
            "--observe" => {
                let words = value();
                let (fd, seconds) = words.split_once(':').unwrap_or_else(|| fail("--observe"));
                found.observe = Some((number(fd), number(seconds)));
            }
            "--user" => {
                let ids = value();
                let (uid, gid) = ids.split_once(':').unwrap_or_else(|| fail("--user"));
                found.user = Some((number(uid), number(gid)));
            }
            _ => fail("an unknown option"),
        }
    }
    found.program = words.map(|word| c_string(&word)).collect();
    if found.program.is_empty() {
        fail("no program");
    }
    found
}

// --- staying as the parent -------------------------------------------------------------------------------------------

static CHILD: AtomicI32 = AtomicI32::new(0);

extern "C" fn on_sigterm(_: c_int) {
    let child = CHILD.load(Ordering::SeqCst);
    if child > 0 {
        unsafe { kill(child, SIGKILL) };
    }
}

fn children() -> Vec<c_int> {
    children_of(std::process::id() as c_int)
}

fn children_of(pid: c_int) -> Vec<c_int> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{}/task", pid)).into_iter().flatten().flatten() {
        let text = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|pid| pid.parse::<c_int>().ok()));
    }
    found
}

/// Kill every descendant where they share the server's user. They are stopped first: what is stopped still counts
/// against the limit of processes, so that the others of a fork bomb can start no more.
fn kill_descendants() {
    let mut stopped = Vec::new();
    loop {
        let mut fresh = Vec::new();
        let mut waiting = children();
        while let Some(pid) = waiting.pop() {
            if !stopped.contains(&pid) {
                unsafe { kill(pid, SIGSTOP) };
                fresh.push(pid);
            }
            waiting.extend(children_of(pid));
        }
        if fresh.is_empty() {
            break;
        }
        stopped.extend(fresh);
    }
    for pid in stopped {
        unsafe { kill(pid, SIGKILL) };
    }
}

/// Kill all that is left. Orphans become our children, so this ends when there are none.
fn sweep(user: Option<(u32, u32)>) {
    loop {
        if let Some((uid, gid)) = user {
            // As their own user: one call reaches all of them at once, also a bomb that forks faster than we look.
            unsafe {
                let helper = fork();
                if helper == 0 {
                    setgroups(0, std::ptr::null());
                    setresgid(gid, gid, gid);
                    if setresuid(uid, uid, uid) == 0 {
                        give_up_capabilities(); // with them the signal would reach everybody
                        kill(-1, SIGKILL);
                    }
                    exit(0);
                }
                let mut status = 0;
                waitpid(helper, &mut status, 0);
            }
        }
        if user.is_none() {
            kill_descendants();
        }
        for pid in children() {
            unsafe { kill(pid, SIGKILL) };
        }
        let mut status = 0;
        while unsafe { waitpid(-1, &mut status, WNOHANG) } > 0 {}
        if children().is_empty() && unsafe { waitpid(-1, &mut status, WNOHANG) } < 0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_micros(500));
    }
}

#[repr(C)]
struct Polled {
    fd: c_int,
    wanted: i16,
    found: i16,
}

/// Wait until the child has ended, and tell how; None when the server has gone. It takes our children's ends, too.
///
/// To ask to die with one's parent is not enough: who asks after that death is not heard, and a parent of many threads
/// dies one by one, so that even its pipes stay open for a while.
fn wait(child: c_int, alive: c_int) -> Option<c_int> {
    let ended = unsafe { syscall(PIDFD_OPEN, child as c_long, 0 as c_long) } as c_int;
    loop {
        let mut entries = [Polled { fd: alive, wanted: 0, found: 0 }, Polled { fd: ended, wanted: POLLIN, found: 0 }];
        unsafe { poll(entries.as_mut_ptr(), 2, ORPHANS_MILLISECONDS) };
        let mut status = 0;
        loop {
            let pid = unsafe { waitpid(-1, &mut status, WNOHANG) };
            if pid == child {
                return Some(status);
            }
            if pid <= 0 {
                break;
            }
        }
        if entries[0].found != 0 {
            return None;
        }
    }
}

fn reap(user: Option<(u32, u32)>, alive: c_int) {
    unsafe {
        prctl(PR_SET_CHILD_SUBREAPER, 1 as c_ulong);
        let child = fork();
        if child < 0 {
            fail("fork");
        }
        if child == 0 {
            prctl(PR_SET_PDEATHSIG, SIGKILL as c_ulong);
            if user.is_none() {
                nice(POLITE); // only by that can we, and the server, keep ahead of a fork bomb of our own user
            }
            return;
        }
        CHILD.store(child, Ordering::SeqCst);
        signal(SIGTERM, on_sigterm as *const () as usize);
        let status = wait(child, alive);
        sweep(user);
        exit(exit_code(status));
    }
}

fn exit_code(status: Option<c_int>) -> c_int {
    match status {
        Some(status) if status & 0x7f == 0 => (status >> 8) & 0xff,
        Some(status) => 128 + (status & 0x7f),
        None => 128 + SIGKILL,
    }
}

/// Be what bubblewrap would put here otherwise, which asks to die with its parent only after it has started us.
fn init(alive: c_int) {
    unsafe {
        // Before there is a child that could be quicker, since the program may have our user id.
        prctl(PR_SET_DUMPABLE, 0 as c_ulong);
        let child = fork();
        if child < 0 {
            fail("fork");
        }
        if child == 0 {
            prctl(PR_SET_DUMPABLE, 1 as c_ulong);
            return;
        }
        give_up_capabilities();
        exit(exit_code(wait(child, alive)));
    }
}

// --- Landlock --------------------------------------------------------------------------------------------------------

#[repr(C)]
struct Ruleset {
    fs: u64,
    net: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    access: u64,
    parent: c_int,
}

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_SOCK: u64 = 1 << 9;
const MAKE_BLOCK: u64 = 1 << 11;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

fn handled(abi: u32) -> u64 {
    let mut all = (1 << 13) - 1;
    if abi >= 2 {
        all |= REFER;
    }
    if abi >= 3 {
        all |= TRUNCATE;
    }
    if abi >= 5 {
        all |= IOCTL_DEV;
    }
    all
}

fn allow(ruleset: c_long, path: &str, access: u64) {
    let name = c_string(path);
    unsafe {
        let parent = open(name.as_ptr(), O_PATH_CLOEXEC);
        if parent < 0 {
            return;
        }
        let access = if fs::metadata(path).map_or(false, |found| found.is_dir()) { access } else { access & OF_FILES };
        let rule = PathBeneath { access, parent };
        if syscall(LANDLOCK_ADD_RULE, ruleset, 1 as c_long, &rule as *const PathBeneath, 0 as c_long) != 0 {
            fail(path);
        }
        close(parent);
    }
}

fn landlock(found: &Options) {
    let abi = found.landlock;
    let all = handled(abi);
    let ruleset = Ruleset { fs: all, net: if abi >= 4 { 3 } else { 0 }, scoped: if abi >= 6 { 3 } else { 0 } };
    let size: c_long = if abi >= 6 { 24 } else if abi >= 4 { 16 } else { 8 };
    unsafe {
        let fd = syscall(LANDLOCK_CREATE_RULESET, &ruleset as *const Ruleset, size, 0 as c_long);
        if fd < 0 {
            fail("Landlock");
        }
        for path in &found.ro {
            allow(fd, path, EXECUTE | READ_FILE | READ_DIR);
        }
        for path in &found.rw {
            allow(fd, path, all & !(MAKE_CHAR | MAKE_BLOCK | MAKE_SOCK | IOCTL_DEV));
        }
        for path in &found.dev {
            allow(fd, path, READ_FILE | WRITE_FILE);
        }
        if syscall(LANDLOCK_RESTRICT_SELF, fd, 0 as c_long) != 0 {
            fail("Landlock");
        }
        close(fd as c_int);
    }
}

// --- seccomp ---------------------------------------------------------------------------------------------------------

#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    yes: u8,
    no: u8,
    k: u32,
}

#[repr(C)]
struct Filter {
    length: u16,
    instructions: *const Instruction,
}

const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;
const KILL: u32 = 0x8000_0000;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const EOPNOTSUPP: u32 = 0x0005_005f;
const NEW_NAMESPACES: u32 = 0x7e02_0080;
const THREAD: u32 = 0x1_0000;
const SAME_FILES: u32 = 0x400;
const CLOSE_RANGE_UNSHARE: u32 = 2;
const SHARED_ANONYMOUS: u32 = 0x21;
const ACCESS_OR_TRUNCATE: u32 = 0o1003;
const TRUNCATE_READING: u32 = 0o1000;
const AF_UNIX: u32 = 1;
const KIND: u32 = 0xe;
const DATAGRAMS: u32 = 2; // SOCK_DGRAM and SOCK_RAW, which is the same among these

#[cfg(target_arch = "x86_64")]
mod numbers {
    pub const ARCH: u32 = 0xc000_003e;
    pub const CAPSET: i64 = 126;
    pub const CLONE: u32 = 56;
    pub const MMAP: u32 = 9;
    pub const FALLOCATE: u32 = 285;
    pub const PRLIMIT: u32 = 302;
    pub const SOCKETPAIR: u32 = 53;
    pub const OPEN: Option<u32> = Some(2);
    pub const OPENAT: u32 = 257;
    /// By the kernel's own table of names: socket; memfd_create; ptrace, process_vm_*, kcmp; SysV and POSIX message queues, semaphores
    /// and shared memory; keys; bpf, userfaultfd, perf_event_open; mounts, roots and namespaces; file handles; quotas, swap,
    /// modules, kexec, reboot, syslog; clocks and host names; memory policy of other processes; ports of the machine;
    /// priorities and processors, which could be other processes', too; attributes of files, which are memory in a tmpfs;
    /// truncate, which Landlock does not hold before version 3.
    pub const REFUSED: &[u32] = &[
        29, 30, 31, 41, 64, 65, 66, 67, 68, 69, 70, 71, 76, 101, 103, 134, 136, 139, 141, 142, 144, 153, 154, 155, 156,
        159, 161, 163, 164, 165, 166, 167, 168, 169, 170, 171, 172, 173, 174, 175, 176, 177, 178, 179, 180, 188,
        189, 190, 203, 212, 220, 227, 237, 238, 239, 240, 241, 242, 243, 244, 245, 246, 248, 249, 250, 251, 256, 272, 279, 298, 303,
        304, 305, 308, 310, 311, 312, 313, 314, 319, 320, 321, 323,
    ];
}

#[cfg(target_arch = "aarch64")]
mod numbers {
    pub const ARCH: u32 = 0xc000_00b7;
    pub const CAPSET: i64 = 91;
    pub const CLONE: u32 = 220;
    pub const MMAP: u32 = 222;
    pub const FALLOCATE: u32 = 47;
    pub const PRLIMIT: u32 = 261;
    pub const SOCKETPAIR: u32 = 199;
    pub const OPEN: Option<u32> = None;
    pub const OPENAT: u32 = 56;
    pub const REFUSED: &[u32] = &[
        5, 6, 7, 18, 30, 39, 40, 41, 42, 45, 51, 58, 60, 89, 97, 104, 105, 106, 112, 116, 117, 118, 119, 122, 140, 142, 161, 162,
        170, 171, 180, 181, 182, 183, 184, 185, 186, 187, 188, 189, 190, 191, 192, 193, 194, 195, 196, 197, 198, 217,
        218, 219, 224, 225, 235, 236, 237, 238, 239, 241, 264, 265, 266, 268, 270, 271, 272, 273, 274, 279,
        280, 282, 294,
    ];
}

/// The same numbers everywhere: io_uring, pidfd_getfd, the new mount calls, process_madvise, memfd_secret, quotactl_fd,
/// setxattrat.
const REFUSED_EVERYWHERE: &[u32] =
    &[425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442, 443, 447, 448, 457, 458, 460, 461, 463, 467];
const CLONE3: u32 = 435;
const OPENAT2: u32 = 437;

fn seccomp() {
    let step = |code, k, yes, no| Instruction { code, yes, no, k };
    let mut program = vec![
        step(LOAD, 4, 0, 0),
        step(EQUAL, numbers::ARCH, 1, 0),
        step(RETURN, KILL, 0, 0),
        step(LOAD, 0, 0, 0),
        // The x32 calls of x86-64 would go round the numbers below.
        step(AT_LEAST, 0x4000_0000, 0, 1),
        step(RETURN, ENOSYS, 0, 0),
        // Its flags lie in memory, where a filter cannot look; the C library goes back to clone.
        step(EQUAL, CLONE3, 0, 1),
        step(RETURN, ENOSYS, 0, 0),
        step(EQUAL, OPENAT2, 0, 1),
        step(RETURN, ENOSYS, 0, 0),
    ];
    // To be opened for reading and emptied at once; before its version 3 Landlock asks for reading alone.
    for (call, flags) in numbers::OPEN.iter().map(|call| (*call, 24)).chain(Some((numbers::OPENAT, 32))) {
        program.extend_from_slice(&[
            step(EQUAL, call, 0, 5),
            step(LOAD, flags, 0, 0),
            step(AND, ACCESS_OR_TRUNCATE, 0, 0),
            step(EQUAL, TRUNCATE_READING, 0, 1),
            step(RETURN, EPERM, 0, 0),
            step(RETURN, ALLOW, 0, 0),
        ]);
    }
    // Blocks by the gigabyte in one call, faster than anybody counts; the C library writes them itself then.
    program.push(step(EQUAL, numbers::FALLOCATE, 0, 1));
    program.push(step(RETURN, EOPNOTSUPP, 0, 0));
    for call in numbers::REFUSED.iter().chain(REFUSED_EVERYWHERE) {
        program.push(step(EQUAL, *call, 0, 1));
        program.push(step(RETURN, EPERM, 0, 0));
    }
    program.extend_from_slice(&[
        // Shared memory without a file can be hidden from whoever counts: touched, and then let go of by all.
        step(EQUAL, numbers::MMAP, 0, 5),
        step(LOAD, 40, 0, 0),
        step(AND, SHARED_ANONYMOUS, 0, 0),
        step(EQUAL, SHARED_ANONYMOUS, 0, 1),
        step(RETURN, EPERM, 0, 0),
        step(RETURN, ALLOW, 0, 0),
        // Its own limits, and nobody else's: the kernel asks for the same user alone, which the server's may be.
        step(EQUAL, numbers::PRLIMIT, 0, 4),
        step(LOAD, 16, 0, 0),
        step(EQUAL, 0, 1, 0),
        step(RETURN, EPERM, 0, 0),
        step(RETURN, ALLOW, 0, 0),
        // A pair of sockets can only talk to each other, but one of datagrams sends to any address.
        step(EQUAL, numbers::SOCKETPAIR, 0, 8),
        step(LOAD, 16, 0, 0),
        step(EQUAL, AF_UNIX, 1, 0),
        step(RETURN, EPERM, 0, 0),
        step(LOAD, 24, 0, 0),
        step(AND, KIND, 0, 0),
        step(EQUAL, DATAGRAMS, 0, 1),
        step(RETURN, EPERM, 0, 0),
        step(RETURN, ALLOW, 0, 0),
        // All threads of a process have the same files open, so that one of them tells of all.
        step(EQUAL, CLOSE_RANGE as u32, 0, 4),
        step(LOAD, 32, 0, 0),
        step(ANY_BIT, CLOSE_RANGE_UNSHARE, 0, 1),
        step(RETURN, EPERM, 0, 0),
        step(RETURN, ALLOW, 0, 0),
        step(EQUAL, numbers::CLONE, 0, 6),
        step(LOAD, 16, 0, 0),
        step(ANY_BIT, NEW_NAMESPACES, 0, 1),
        step(RETURN, EPERM, 0, 0),
        step(AND, THREAD | SAME_FILES, 0, 0),
        step(EQUAL, THREAD, 0, 1),
        step(RETURN, EPERM, 0, 0),
        step(RETURN, ALLOW, 0, 0),
    ]);
    let filter = Filter { length: program.len() as u16, instructions: program.as_ptr() };
    if unsafe { prctl(PR_SET_SECCOMP, 2 as c_ulong, &filter as *const Filter) } != 0 {
        fail("seccomp");
    }
}

// --- the program -----------------------------------------------------------------------------------------------------

fn become_user(uid: u32, gid: u32) {
    unsafe {
        if setgroups(0, std::ptr::null()) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0 {
            fail("the user of the run");
        }
    }
}

/// A server that is no root keeps some of root's capabilities, which a change of users does not take away.
fn give_up_capabilities() {
    let header = [CAPABILITY_VERSION_3, 0];
    let none = [0u32; 6];
    unsafe {
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong);
        if syscall(numbers::CAPSET as c_long, header.as_ptr(), none.as_ptr()) != 0 {
            fail("the capabilities");
        }
    }
}

/// A user namespace in which we are nobody but ourselves. Some systems refuse it, and then there is none.
fn enter_user_namespace(uid: u32, gid: u32) {
    unsafe {
        prctl(PR_SET_DUMPABLE, 1 as c_ulong);
        if unshare(CLONE_NEWUSER) != 0 {
            return;
        }
    }
    let _ = fs::write("/proc/self/setgroups", "deny");
    if fs::write("/proc/self/uid_map", format!("{} {} 1", uid, uid)).is_err()
        || fs::write("/proc/self/gid_map", format!("{} {} 1", gid, gid)).is_err()
    {
        fail("the user namespace");
    }
}

fn main() {
    let found = options();
    // When memory runs out, the kernel ends a run before the server. Now, because later this is not our own file.
    let _ = fs::write("/proc/self/oom_score_adj", LIKELY_TO_GO);
    unsafe {
        prctl(PR_SET_PDEATHSIG, (if found.reap { SIGTERM } else { SIGKILL }) as c_ulong);
    }
    if found.init {
        init(found.alive);
    }
    if found.reap {
        reap(found.user, found.alive);
    }
    if let Some((uid, gid)) = found.user {
        become_user(uid, gid);
        if found.userns {
            enter_user_namespace(uid, gid);
        }
    }
    give_up_capabilities();
    unsafe {
        prctl(PR_SET_PDEATHSIG, SIGKILL as c_ulong);
        for (resource, value) in &found.limits {
            if setrlimit(*resource, &[*value, *value]) != 0 {
                fail("a limit");
            }
        }
        setrlimit(4, &[0, 0]); // no core dumps
        if prctl(PR_SET_NO_NEW_PRIVS, 1 as c_ulong, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) != 0 {
            fail("no_new_privs");
        }
        if !found.pass {
            syscall(CLOSE_RANGE, 3 as c_long, u32::MAX as c_long, 4 as c_long); // close on exec
        }
    }
    if let Some((fd, seconds)) = found.observe {
        observe::observe(fd, seconds);
    }
    if found.landlock > 0 {
        landlock(&found);
    }
    if found.seccomp {
        seccomp();
    }
    let mut argv: Vec<*const c_char> = found.program.iter().map(|word| word.as_ptr()).collect();
    argv.push(std::ptr::null());
    unsafe { execvp(argv[0], argv.as_ptr()) };
    eprintln!("{} cannot be started: {}", found.program[0].to_string_lossy(), std::io::Error::last_os_error());
    exit(127)
}
