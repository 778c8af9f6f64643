//! Watches the program from its first instruction to its end, as its parent and tracer.
//!
//! The server cannot do that: a program that dies at once is gone before another process could inspect it. The tracer
//! runs as the run's user, outside of the program's isolation, which refuses `ptrace`, and only observes. It writes its
//! report, one line of JSON with numbers only, to a pipe that the program does not have. If the system refuses tracing,
//! the report only has what /proc shows (the state, the processor time and waits) and the exit status.
//!
//! It only traces programs below the current folder, the crate. `cargo run` becomes the program by `exec`; if it
//! becomes another one, such as an emulator, the tracer detaches.

use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::process::exit;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use super::{close, fail, fork, kill, prctl, signal, waitpid, PR_SET_DUMPABLE, PR_SET_PDEATHSIG, SIGKILL};

extern "C" {
    fn ptrace(request: c_int, ...) -> c_long;
    fn raise(signal: c_int) -> c_int;
    fn write(fd: c_int, data: *const c_void, count: usize) -> isize;
    fn setitimer(which: c_int, value: *const [c_long; 4], old: *mut c_void) -> c_int;
    fn siginterrupt(signal: c_int, flag: c_int) -> c_int;
}

const TRACEME: c_int = 0;
const POKE: c_int = 4;
const CONT: c_int = 7;
const STEP: c_int = 9;
const DETACH: c_int = 17;
const SYSCALL: c_int = 24;
const SETOPTIONS: c_int = 0x4200;
const GETSIGINFO: c_int = 0x4202;
const GETREGSET: c_int = 0x4204;
const SETREGSET: c_int = 0x4205;
const GET_SYSCALL_INFO: c_int = 0x420e;
const OPTIONS: c_ulong = 0x10_0000 | 0x40 | 0x10 | 0x1; // kill with the tracer; stop at exit and exec; mark system calls
const EVENT_EXEC: c_int = 4;
const EVENT_EXIT: c_int = 6;
const GENERAL: c_long = 1;
const SIGTRAP: c_int = 5;
const SIGALRM: c_int = 14;
const SIGSTOP: c_int = 19;
const TICK: Duration = Duration::from_millis(5);
const LOOKS: usize = 64;
const NAMED: usize = 16;

#[cfg(target_arch = "x86_64")]
mod machine {
    pub const NAME: &str = "x86-64";
    pub const REGISTERS: usize = 27;
    pub const PC: usize = 16;
    pub const SP: usize = 19;
    pub const BREAK: u64 = 0xcc;
    pub const BREAK_MASK: u64 = 0xff;
    pub const BEHIND: u64 = 1;
}

#[cfg(target_arch = "aarch64")]
mod machine {
    pub const NAME: &str = "AArch64";
    pub const REGISTERS: usize = 34;
    pub const PC: usize = 32;
    pub const SP: usize = 31;
    pub const BREAK: u64 = 0xd420_0000;
    pub const BREAK_MASK: u64 = 0xffff_ffff;
    pub const BEHIND: u64 = 0;
}

type Registers = [u64; machine::REGISTERS];

/// The observations of the program so far.
struct Seen {
    pid: c_int,
    began: Instant,
    cpu_before: u64,
    cpu: u64,
    freestanding: bool,
    file_entry: u64,      // in the file's header
    entry: u64,           // in memory
    instead: Option<u64>, // the word that a breakpoint at the entry replaces
    entry_sp: u64,
    argc: u64,
    calls: u64,
    named: Vec<u64>,
    death: Option<Death>,
    traced: bool,
}

struct Death {
    signal: c_int,
    code: i32,
    address: u64,
    registers: Registers,
    bytes: Vec<u8>,
}

extern "C" fn on_alarm(_: c_int) {}

/// Fork. The child returns, to become the program behind its walls; the parent watches it and ends with it.
pub fn observe(report: c_int, seconds: f64) {
    let folder = format!("{}/", std::env::current_dir().unwrap_or_else(|_| fail("the current folder")).display());
    let traced = may_trace();
    unsafe {
        let child = fork();
        if child < 0 {
            fail("fork");
        }
        if child == 0 {
            prctl(PR_SET_PDEATHSIG, SIGKILL as c_ulong);
            close(report);
            if traced && ptrace(TRACEME, 0 as c_long, 0 as c_long, 0 as c_long) == 0 {
                raise(SIGSTOP);
            }
            return;
        }
        prctl(PR_SET_DUMPABLE, 0 as c_ulong); // the program has our user id and must not write to our memory
        if !traced {
            look_on(child, report, seconds, &folder)
        }
        signal(SIGALRM, on_alarm as *const () as usize);
        siginterrupt(SIGALRM, 1);
        watch(child, report, seconds, &folder)
    }
}

/// Return true if the system lets a parent trace its child, by a trial with a child that ends at once.
fn may_trace() -> bool {
    let mut status = 1;
    unsafe {
        let child = fork();
        if child == 0 {
            exit(if ptrace(TRACEME, 0 as c_long, 0 as c_long, 0 as c_long) == 0 { 0 } else { 1 });
        }
        child > 0 && waitpid(child, &mut status, 0) == child && status == 0
    }
}

/// Observe a program without tracing it: from outside, and by its exit status.
fn look_on(child: c_int, report: c_int, seconds: f64, folder: &str) -> ! {
    let ours = name(std::process::id() as c_int);
    let mut seen: Option<Seen> = None;
    let mut starting = true; // it is still the launcher, or cargo
    let mut before = (Instant::now(), 0, 0);
    loop {
        let (state, name) = (state(child), name(child));
        let program = fs::read_link(format!("/proc/{}/exe", child)).unwrap_or_default();
        let there = program.to_string_lossy().starts_with(folder);
        // A program that died too early is recognized by its name, which the kernel keeps until it is reaped.
        let gone = state == 'Z' && starting && name != ours && name != "cargo";
        if seen.is_none() && (there || gone) {
            seen = Some(Seen { began: before.0, cpu_before: before.1, ..Seen::of(child, false) });
        } else if !there && program.is_absolute() {
            // A dying process has no file but still a name, and for a moment its state is not yet "dead".
            seen = None;
            before = (Instant::now(), cpu(child), waits(child));
            starting = name == ours || name == "cargo";
        }
        if let Some(program) = seen.as_mut() {
            program.cpu = cpu(child).saturating_sub(program.cpu_before);
            if program.freestanding && program.began.elapsed().as_secs_f64() >= seconds && state != 'Z' {
                let waited = waits(child).saturating_sub(before.2);
                let call = waiting_call(child).map_or("null".to_string(), |number| number.to_string());
                let line = program.common("running");
                send(report, &format!("{},\"state\":\"{}\",\"waits\":{},\"waits_in\":{}", line, state, waited, call));
                unsafe { kill(child, SIGKILL) };
                exit(0)
            }
        }
        if state == 'Z' || state == '?' {
            let mut status = 0;
            unsafe { waitpid(child, &mut status, 0) };
            if let Some(program) = seen {
                program.tell_end(report, status);
            }
            ends(status);
        }
        std::thread::sleep(TICK);
    }
}

fn ends(status: c_int) -> ! {
    exit(if status & 0x7f == 0 { (status >> 8) & 0xff } else { 128 + (status & 0x7f) })
}

fn go(pid: c_int, request: c_int, signal: c_int) {
    unsafe { ptrace(request, pid as c_long, 0 as c_long, signal as c_long) };
}

fn watch(child: c_int, report: c_int, seconds: f64, folder: &str) -> ! {
    let mut seen: Option<Seen> = None;
    let mut ready = false;
    let mut how = CONT;
    let mut status = 0;
    loop {
        let ended = unsafe { waitpid(child, &mut status, 0) };
        if let Some(program) = seen.as_mut().filter(|it| it.freestanding && it.began.elapsed().as_secs_f64() >= seconds)
        {
            if ended < 0 || status & 0xff == 0x7f {
                let stopped = ended > 0;
                end_on_purpose(program, report, stopped);
            }
        }
        if ended < 0 {
            continue;
        }
        if status & 0xff != 0x7f {
            if let Some(program) = seen {
                program.tell_end(report, status);
            }
            ends(status);
        }
        let (signal, event) = ((status >> 8) & 0xff, status >> 16);
        if !ready && signal == SIGSTOP {
            ready = true;
            unsafe { ptrace(SETOPTIONS, child as c_long, 0 as c_long, OPTIONS) };
            go(child, CONT, 0);
        } else if event == EVENT_EXEC {
            let program = fs::read_link(format!("/proc/{}/exe", child)).unwrap_or_default();
            if program.to_string_lossy().starts_with(folder) {
                let found = Seen::begin(child);
                if found.freestanding {
                    let (whole, rest) = (seconds as c_long, (seconds.fract() * 1e6) as c_long);
                    // Repeated, because an alarm could arrive just before the wait begins.
                    unsafe { setitimer(0, &[0, 50_000, whole, rest], null_mut()) };
                }
                how = if found.freestanding { SYSCALL } else { CONT };
                seen = Some(found);
                // Up to the program's first instruction only its loader runs, which does not count.
                go(child, if seen.as_ref().map_or(false, |it| it.instead.is_some()) { CONT } else { how }, 0);
            } else if seen.take().is_some() {
                go(child, DETACH, 0); // the program has become another one
            } else {
                go(child, CONT, 0);
            }
        } else if let Some(program) = seen.as_mut() {
            if event == EVENT_EXIT {
                program.cpu = cpu(child).saturating_sub(program.cpu_before);
                go(child, CONT, 0);
            } else if signal == SIGTRAP | 0x80 {
                program.count();
                go(child, how, 0);
            } else if signal == SIGTRAP && program.arrives() {
                go(child, how, 0);
            } else {
                program.note(signal);
                go(child, if program.instead.is_some() { CONT } else { how }, signal);
            }
        } else {
            go(child, CONT, if event == 0 { signal } else { 0 });
        }
    }
}

impl Seen {
    fn begin(pid: c_int) -> Seen {
        let mut seen = Seen::of(pid, true);
        if let Some(word) = peek(pid, seen.entry) {
            let trap = word & !machine::BREAK_MASK | machine::BREAK;
            if unsafe { ptrace(POKE, pid as c_long, seen.entry as c_long, trap as c_long) } == 0 {
                seen.instead = Some(word);
            }
        }
        seen
    }

    fn of(pid: c_int, traced: bool) -> Seen {
        let (freestanding, file_entry) = header(pid).unwrap_or((false, 0));
        Seen {
            pid,
            began: Instant::now(),
            cpu_before: cpu(pid),
            cpu: 0,
            freestanding,
            file_entry,
            entry: entry(pid).unwrap_or(0),
            instead: None,
            entry_sp: 0,
            argc: 0,
            calls: 0,
            named: Vec::new(),
            death: None,
            traced,
        }
    }

    /// Return true if this stop is the breakpoint at the entry point, and remove the breakpoint.
    fn arrives(&mut self) -> bool {
        let word = match self.instead {
            Some(word) => word,
            None => return false,
        };
        let mut registers = match registers(self.pid) {
            Some(found) if found[machine::PC] == self.entry + machine::BEHIND => found,
            _ => return false,
        };
        self.instead = None;
        registers[machine::PC] = self.entry;
        self.entry_sp = registers[machine::SP];
        self.argc = peek(self.pid, self.entry_sp).unwrap_or(0);
        unsafe { ptrace(POKE, self.pid as c_long, self.entry as c_long, word as c_long) };
        with_registers(self.pid, SETREGSET, &mut registers);
        true
    }

    fn count(&mut self) {
        let mut info = [0u64; 11];
        let size = std::mem::size_of_val(&info) as c_long;
        let got = unsafe { ptrace(GET_SYSCALL_INFO, self.pid as c_long, size, info.as_mut_ptr()) };
        if got > 0 && info[0] & 0xff == 1 {
            self.calls += 1;
            if self.named.len() < NAMED {
                self.named.push(info[3]);
            }
        }
    }

    /// Record a signal and the place where it arrived. Whether the program dies of it is known later.
    fn note(&mut self, signal: c_int) {
        let mut info = [0u8; 128];
        unsafe { ptrace(GETSIGINFO, self.pid as c_long, 0 as c_long, info.as_mut_ptr()) };
        let registers = registers(self.pid).unwrap_or([0; machine::REGISTERS]);
        let at = registers[machine::PC];
        let words = [peek(self.pid, at), peek(self.pid, at.wrapping_add(8))];
        self.death = Some(Death {
            signal,
            code: i32::from_ne_bytes([info[8], info[9], info[10], info[11]]),
            address: u64::from_ne_bytes([
                info[16], info[17], info[18], info[19], info[20], info[21], info[22], info[23],
            ]),
            registers,
            bytes: words.iter().map_while(|word| *word).flat_map(|word| word.to_ne_bytes()).collect(),
        });
    }

    fn tell_end(&self, report: c_int, status: c_int) {
        let mut line = self.common(if status & 0x7f == 0 { "exited" } else { "killed" });
        if status & 0x7f == 0 {
            line += &format!(",\"exit_code\":{}", (status >> 8) & 0xff);
        } else {
            line += &format!(",\"signal\":{}", status & 0x7f);
        }
        if let Some(death) = self.death.as_ref().filter(|death| death.signal == status & 0x7f) {
            let bytes: String = death.bytes.iter().map(|byte| format!("{:02x}", byte)).collect();
            line += &format!(",\"code\":{},\"address\":{},\"bytes\":\"{}\"", death.code, death.address, bytes);
            line += &format!(",\"registers\":{:?}", death.registers);
        }
        send(report, &line);
    }

    fn common(&self, outcome: &str) -> String {
        format!(
            "{{\"outcome\":\"{}\",\"machine\":\"{}\",\"file_entry\":{},\"seconds\":{:.4},\"cpu_seconds\":{:.4},\"freestanding\":{},\"entry\":{},\
             \"reached\":{},\"entry_sp\":{},\"argc\":{},\"calls\":{},\"named\":{:?},\"traced\":{}",
            outcome,
            machine::NAME,
            self.file_entry,
            self.began.elapsed().as_secs_f64(),
            self.cpu as f64 / 1e9,
            self.freestanding,
            self.entry,
            self.instead.is_none() && self.entry_sp != 0,
            self.entry_sp,
            self.argc,
            self.calls,
            self.named,
            self.traced
        )
    }
}

/// The timeout has expired: record the program's state and end it.
fn end_on_purpose(program: &mut Seen, report: c_int, stopped: bool) -> ! {
    let pid = program.pid;
    program.cpu = cpu(pid).saturating_sub(program.cpu_before);
    let state = if stopped { 'R' } else { state(pid) };
    let mut places = Vec::new();
    if state == 'R' && (stopped || stop(program)) {
        while places.len() < LOOKS {
            match registers(pid) {
                Some(found) => places.push(found[machine::PC]),
                None => break,
            }
            let mut status = 0;
            go(pid, STEP, 0);
            if unsafe { waitpid(pid, &mut status, 0) } != pid || status & 0xff != 0x7f {
                break;
            }
        }
    }
    send(report, &format!("{},\"state\":\"{}\",\"places\":{:?}", program.common("running"), state, places));
    unsafe {
        kill(pid, SIGKILL);
        exit(0)
    }
}

fn stop(program: &mut Seen) -> bool {
    let mut status = 0;
    unsafe { kill(program.pid, SIGSTOP) };
    for _ in 0..100 {
        if unsafe { waitpid(program.pid, &mut status, 0) } != program.pid {
            continue; // the alarm
        }
        if status & 0xff != 0x7f {
            return false;
        }
        if (status >> 8) & 0xff == SIGSTOP {
            return true;
        }
        if (status >> 8) & 0xff == SIGTRAP | 0x80 {
            program.count();
        }
        go(program.pid, SYSCALL, 0);
    }
    false
}

fn send(report: c_int, line: &str) {
    let line = format!("{}}}\n", line);
    unsafe { write(report, line.as_ptr() as *const c_void, line.len()) };
}

// --- looking at the process ------------------------------------------------------------------------------------------

fn peek(pid: c_int, address: u64) -> Option<u64> {
    // From /proc: ptrace of the C library returns -1 both for an error and for a word with that value.
    let mut file = fs::File::open(format!("/proc/{}/mem", pid)).ok()?;
    let mut word = [0; 8];
    file.seek(SeekFrom::Start(address)).ok()?;
    file.read_exact(&mut word).ok()?;
    Some(u64::from_ne_bytes(word))
}

fn with_registers(pid: c_int, request: c_int, registers: &mut Registers) -> bool {
    let mut vector = [registers.as_mut_ptr() as usize, std::mem::size_of::<Registers>()];
    unsafe { ptrace(request, pid as c_long, GENERAL, vector.as_mut_ptr()) == 0 }
}

fn registers(pid: c_int) -> Option<Registers> {
    let mut found = [0; machine::REGISTERS];
    with_registers(pid, GETREGSET, &mut found).then_some(found)
}

/// Nanoseconds of processor time of the main thread.
fn cpu(pid: c_int) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/schedstat", pid)).unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0)
}

fn state(pid: c_int) -> char {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid)).unwrap_or_default();
    text.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('?')
}

/// The name of the program that a process executes, cut to the kernel's length.
fn name(pid: c_int) -> String {
    fs::read_to_string(format!("/proc/{}/comm", pid)).unwrap_or_default().trim_end().to_string()
}

/// How often a process gave up the processor to wait for something.
fn waits(pid: c_int) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", pid)).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// The number of the system call in which a process waits, if the system reports it.
fn waiting_call(pid: c_int) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/syscall", pid)).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// The address of the program's first instruction in memory, as the kernel passes it to the loader.
fn entry(pid: c_int) -> Option<u64> {
    let data = fs::read(format!("/proc/{}/auxv", pid)).ok()?;
    data.chunks_exact(16).find(|pair| number(pair, 0, 8) == 9).map(|pair| number(pair, 8, 8))
}

fn number(data: &[u8], at: usize, size: usize) -> u64 {
    data.get(at..at + size).map_or(0, |bytes| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// Return true if the program's file, a 64-bit ELF, needs no shared library; and its entry address.
fn header(pid: c_int) -> Option<(bool, u64)> {
    let mut file = fs::File::open(format!("/proc/{}/exe", pid)).ok()?;
    let mut part = |offset: u64, size: usize| {
        let mut data = vec![0; size];
        file.seek(SeekFrom::Start(offset)).ok()?;
        let got = file.read(&mut data).ok()?;
        data.truncate(got);
        Some(data)
    };
    let head = part(0, 64)?;
    if head.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let entry = number(&head, 24, 8);
    let (offset, count) = (number(&head, 32, 8), number(&head, 56, 2) as usize);
    let segments = part(offset, count * 56)?;
    for segment in segments.chunks_exact(56).filter(|one| number(one, 0, 4) == 2) {
        let dynamic = part(number(segment, 8, 8), number(segment, 32, 8).min(65_536) as usize)?;
        let mut tags = dynamic.chunks_exact(16).map(|entry| number(entry, 0, 8)).take_while(|tag| *tag != 0);
        if tags.any(|tag| tag == 1) {
            return Some((false, entry));
        }
    }
    Some((true, entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_little_endian_and_zero_where_the_data_ends() {
        let data = [0x34, 0x12, 0, 0xff];
        assert_eq!(number(&data, 0, 2), 0x1234);
        assert_eq!(number(&data, 1, 3), 0xff_0012);
        assert_eq!(number(&data, 2, 4), 0);
    }

    #[test]
    fn what_the_kernel_says_of_this_process_is_understood() {
        let own = std::process::id() as c_int;
        assert!("RS".contains(state(own)));
        assert!(entry(own).is_some());
        let (freestanding, _) = header(own).unwrap();
        assert!(!freestanding);
        assert!(header(0).is_none());
    }
}
