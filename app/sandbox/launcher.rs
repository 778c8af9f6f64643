//! The last step before an untrusted program runs: set its limits, isolate it, then `exec`.
//!
//! `launcher [OPTION…] -- PROGRAM [ARGUMENT…]`
//!
//!   --reap              stay as the parent, and kill every descendant when PROGRAM ends or SIGTERM arrives
//!   --init              stay as the first process of a new PID namespace; when PROGRAM ends, end all others in it
//!   --user UID:GID      become that user, without supplementary groups; every capability is dropped in any case
//!   --userns            enter a new user namespace, if the system allows it
//!   --limit NAME=VALUE  set a resource limit: cpu (s), fsize, as (bytes), nofile, nproc
//!   --landlock ABI      restrict access with version ABI of Landlock to the following paths:
//!   --ro PATH           read and execute; ignored if PATH does not exist
//!   --rw PATH           all access but to devices and sockets
//!   --dev PATH          read and write an existing device
//!   --seccomp           allow the system calls of calls.txt and refuse the others; see seccomp.rs
//!   --filters           with --seccomp, let PROGRAM install seccomp filters
//!   --alive FD          a pipe whose other end only the server holds: with --init or --reap, end when it hangs up
//!   --pass              leave all descriptors open for PROGRAM, which is bubblewrap with another launcher inside
//!   --observe FD:SECONDS  trace the program and write a report to FD; see observe.rs
//!   --park FD           take the program from the pipe FD instead of the arguments, once everything else is done
//!
//! This must happen within a millisecond in the process that becomes the program, so it is a compiled program of its
//! own. If the isolation cannot be set up, nothing runs: it exits with 125 and a sentence on standard error.

mod observe;
mod seccomp;

use std::ffi::OsStr;
use std::ffi::{c_char, c_int, c_long, c_ulong, CString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::FromRawFd;
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
const PENDING: u64 = 1024;
const SIGTERM: c_int = 15;
const CLONE_NEWUSER: c_int = 0x1000_0000;
const LANDLOCK_CREATE_RULESET: c_long = 444;
const LANDLOCK_ADD_RULE: c_long = 445;
const LANDLOCK_RESTRICT_SELF: c_long = 446;
const CLOSE_RANGE: c_long = 436;
#[cfg(target_arch = "x86_64")]
const CAPSET: c_long = 126;
#[cfg(target_arch = "aarch64")]
const CAPSET: c_long = 91;
const PIDFD_OPEN: c_long = 434;
const NO_DESCRIPTOR: c_int = -1;
const POLLIN: i16 = 1;
const WNOHANG: c_int = 1;
const SIGCHLD: c_int = 17;
/// The longest time for which an orphan waits to be reaped that has ended just before `poll` was called.
const ORPHANS_MILLISECONDS: c_int = 500;

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
    filters: bool,
    alive: c_int,
    pass: bool,
    observe: Option<(c_int, f64)>,
    park: Option<c_int>,
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
            "--filters" => found.filters = true,
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
            "--park" => found.park = Some(number(&value())),
            "--user" => {
                let ids = value();
                let (uid, gid) = ids.split_once(':').unwrap_or_else(|| fail("--user"));
                found.user = Some((number(uid), number(gid)));
            }
            _ => fail("an unknown option"),
        }
    }
    found.program = words.map(|word| c_string(&word)).collect();
    if found.program.is_empty() && found.park.is_none() {
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

/// Kill every descendant if they run as the server's user. They are stopped first: a stopped process still counts
/// against the limit on processes, so the rest of a fork bomb cannot start more.
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

/// Kill all remaining descendants. Orphans become our children, so this is done when there are no children.
fn sweep(user: Option<(u32, u32)>) {
    loop {
        if let Some((uid, gid)) = user {
            // As their user, one call signals all of them at once, even a bomb that forks faster than we could list.
            unsafe {
                let helper = fork();
                if helper == 0 {
                    setgroups(0, std::ptr::null());
                    setresgid(gid, gid, gid);
                    if setresuid(uid, uid, uid) == 0 {
                        give_up_capabilities(); // or the signal would reach all users' processes
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

extern "C" fn on_sigchld(_: c_int) {}

/// Wait for the end of the child and return its status, or None if the server is gone. Reaps other children, too.
///
/// PR_SET_PDEATHSIG is not enough: it has no effect if the parent is already dead, and the threads of a parent die one
/// by one, so even its pipes stay open for a while.
fn wait(child: c_int, alive: c_int) -> Option<c_int> {
    // With a handler, the end of an orphan interrupts `poll`. A shorter timeout would wake every waiting sandbox.
    unsafe { signal(SIGCHLD, on_sigchld as *const () as usize) };
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
                nice(POLITE); // so that this process and the server get processor time despite a fork bomb
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

/// Be the namespace's first process. Bubblewrap's own would not notice the server's death.
fn init(alive: c_int) {
    unsafe {
        // Before the fork, because the program may have our user id and could act first.
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
    let size: c_long = if abi >= 6 {
        24
    } else if abi >= 4 {
        16
    } else {
        8
    };
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

// --- the program -----------------------------------------------------------------------------------------------------

fn become_user(uid: u32, gid: u32) {
    unsafe {
        if setgroups(0, std::ptr::null()) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0 {
            fail("the user of the run");
        }
    }
}

/// A server that is not root may have some of root's capabilities, which survive a change of the user id.
fn give_up_capabilities() {
    let header = [CAPABILITY_VERSION_3, 0];
    let none = [0u32; 6];
    unsafe {
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong);
        if syscall(CAPSET, header.as_ptr(), none.as_ptr()) != 0 {
            fail("the capabilities");
        }
    }
}

/// Enter a user namespace that maps only our own ids. Some systems refuse it; then go on without.
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

/// Wait for the program, enter its folder, and take over its variables.
///
/// The server sends the folder, the number of variables, the variables and the arguments, separated by NUL. It sends
/// nothing if it does not need this process any more.
fn parked(fd: c_int) -> Vec<CString> {
    let mut message = Vec::new();
    let mut pipe = unsafe { fs::File::from_raw_fd(fd) };
    if pipe.read_to_end(&mut message).is_err() || message.is_empty() {
        exit(0);
    }
    let mut words = message.split(|byte| *byte == 0);
    let mut next = || words.next().unwrap_or_else(|| fail("the message for a parked process"));
    if std::env::set_current_dir(OsStr::from_bytes(next())).is_err() {
        fail("the program's folder");
    }
    for (name, _) in std::env::vars_os() {
        std::env::remove_var(name);
    }
    for _ in 0..number::<usize>(&String::from_utf8_lossy(next())) {
        let mut variable = next().splitn(2, |byte| *byte == b'=').map(OsStr::from_bytes);
        std::env::set_var(variable.next().unwrap_or_default(), variable.next().unwrap_or_default());
    }
    words.map(|word| CString::new(word).unwrap_or_else(|_| fail("an argument holds a NUL"))).collect()
}

fn main() {
    let mut found = options();
    // The OOM killer should end a run before the server. Set it now, because later we may not write to this file.
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
        // Box._bubblewrap says why the server's death must not kill bubblewrap.
        prctl(PR_SET_PDEATHSIG, (if found.pass { 0 } else { SIGKILL }) as c_ulong);
        for (resource, value) in &found.limits {
            if setrlimit(*resource, &[*value, *value]) != 0 {
                fail("a limit");
            }
        }
        // Timers and queued signals count per user, and the run's user may be the server's own.
        setrlimit(11, &[PENDING, PENDING]);
        setrlimit(4, &[1, 1]); // no core dumps; with 0 the kernel would still start a core_pattern program
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
        seccomp::seccomp(found.filters);
    }
    if let Some(fd) = found.park {
        found.program = parked(fd);
    }
    let mut argv: Vec<*const c_char> = found.program.iter().map(|word| word.as_ptr()).collect();
    argv.push(std::ptr::null());
    unsafe { execvp(argv[0], argv.as_ptr()) };
    eprintln!("{} cannot be started: {}", found.program[0].to_string_lossy(), std::io::Error::last_os_error());
    exit(127)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_named_as_the_server_names_them() {
        assert_eq!(limit("cpu=30"), (0, 30));
        assert_eq!(limit("fsize=67108864"), (1, 64 << 20));
        assert_eq!(limit("as=18446744073709551615"), (9, u64::MAX));
    }

    #[test]
    fn a_process_that_is_gone_has_no_children() {
        assert_eq!(children_of(c_int::MAX), Vec::<c_int>::new());
    }

    #[test]
    fn landlock_handles_more_with_each_version() {
        assert!((1..8).all(|abi| handled(abi) & !handled(abi + 1) == 0));
    }
}
