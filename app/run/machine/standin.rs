//! What stands in front of QEMU in a run: `qemu-system-x86_64 ARGUMENT…` under the emulator's own name.
//!
//! It starts the real emulator with the same arguments, without a window and without a network card, and looks at it
//! over QEMU's control socket: at the text screen, at the registers, and whether the machine still does something.
//! What it saw is a JSON file that is written anew at each change, named by PLAYGROUND_MACHINE. Serial output is not
//! touched: QEMU writes it itself. After PLAYGROUND_MACHINE_SECONDS a machine that still runs is switched off, which
//! is no failure: kernels run for ever.
//!
//! Without that variable, or when only a version or a list is asked for, it becomes the real emulator at once.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::raw::{c_int, c_long};
use std::os::unix::io::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{exit, Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

extern "C" {
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn clock_gettime(clock: c_int, time: *mut [c_long; 2]) -> c_int;
}

const F_SETFD: c_int = 2;
const PLACES: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];
const TICK: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_millis(500);
/// An emulator that used less processor time than `IDLE` in so long waits for an interrupt that never comes.
const ASLEEP: Duration = Duration::from_millis(1000);
const IDLE: Duration = Duration::from_millis(5);
const SAID: usize = 2000;
/// The number that our end of the control socket has among the descriptors that QEMU was given.
const SET: u32 = 7_000;
const ONLY_ASKS: [&str; 8] = ["-version", "--version", "-h", "-help", "--help", "help", "?", "-V"];

fn main() {
    let mut words = env::args();
    let name = words.next().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default().to_string();
    let arguments: Vec<String> = words.collect();
    let real = PLACES.iter().map(|place| PathBuf::from(place).join(&name)).find(|path| path.is_file());
    let real = real.unwrap_or_else(|| {
        eprintln!("{} is not installed here.", name);
        exit(127)
    });
    let report = env::var("PLAYGROUND_MACHINE").ok();
    let asks = arguments.iter().any(|word| ONLY_ASKS.contains(&word.as_str()));
    match report {
        Some(path) if !asks => exit(watch(&name, real, &arguments, path)),
        _ => {
            let error = Command::new(&real).args(&arguments).exec();
            eprintln!("{} cannot be started: {}", name, error);
            exit(127)
        }
    }
}

fn watch(name: &str, real: PathBuf, arguments: &[String], path: String) -> i32 {
    let limit = env::var("PLAYGROUND_MACHINE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3.0);
    let (ours, theirs) = UnixStream::pair().unwrap_or_else(|error| {
        eprintln!("{} cannot be watched: {}", name, error);
        exit(127)
    });
    let pc = name == "qemu-system-x86_64";
    unsafe { fcntl(theirs.as_raw_fd(), F_SETFD, 0) };
    let started = Instant::now();
    let spawned = Command::new(&real)
        .args(arguments)
        .args(additions(pc, arguments, theirs.as_raw_fd()))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.unwrap_or_else(|error| {
        eprintln!("{} cannot be started: {}", name, error);
        exit(127)
    });
    drop(theirs);
    let said = Arc::new(Mutex::new(Vec::new()));
    let copying = copy_errors(&mut child, said.clone());
    let mut seen = Seen {
        name: name.to_string(),
        path,
        started,
        ended: None,
        status: None,
        said: String::new(),
        screen: None,
        registers: None,
    };
    let (ended, status) = follow(&mut child, ours, pc, Duration::from_secs_f64(limit), &mut seen);
    let _ = copying.join();
    seen.said = said.lock().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    seen.ended = Some(ended);
    seen.status = Some(status);
    seen.write();
    match ended {
        "time" | "halted" => 0,
        "reset" => 1,
        _ => status.code().unwrap_or(128 + status.signal().unwrap_or(0)),
    }
}

/// What a page has instead of a window, and a run instead of a network.
fn additions(pc: bool, arguments: &[String], fd: c_int) -> Vec<String> {
    let given = |names: &[&str]| arguments.iter().any(|word| names.contains(&word.trim_start_matches('-')));
    let mut more: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| more.extend(words.iter().map(|word| word.to_string()));
    if !given(&["display", "nographic", "curses"]) {
        add(&["-display", "none"]);
    }
    if !given(&["nic", "net", "netdev"]) {
        // Boards have their card soldered on, and QEMU warns when nothing is plugged into it.
        add(&["-nic", if pc { "none" } else { "user,restrict=on" }]);
    }
    // A machine that is off or starts again stands still first, so that its last state can be read.
    add(&["-action", "shutdown=pause,reboot=shutdown"]);
    // As a pipe, which QEMU writes to. It sends to a socket, with a call that could carry files and that runs lack.
    add(&["-add-fd", &format!("fd={},set={}", fd, SET)]);
    add(&["-chardev", &format!("pipe,id=playground,path=/dev/fdset/{}", SET)]);
    add(&["-mon", "chardev=playground,mode=control"]);
    more
}

fn copy_errors(child: &mut Child, said: Arc<Mutex<Vec<u8>>>) -> thread::JoinHandle<()> {
    let mut source = child.stderr.take().expect("it was asked for");
    thread::spawn(move || {
        let mut buffer = [0u8; 4096];
        while let Ok(count) = source.read(&mut buffer) {
            if count == 0 || std::io::stderr().write_all(&buffer[..count]).is_err() {
                return;
            }
            if let Ok(mut kept) = said.lock() {
                let room = SAID.saturating_sub(kept.len()).min(count);
                kept.extend_from_slice(&buffer[..room]);
            }
        }
    })
}

/// Until the machine has ended, or is ended here: how, and how QEMU ended.
fn follow(
    child: &mut Child,
    socket: UnixStream,
    pc: bool,
    limit: Duration,
    seen: &mut Seen,
) -> (&'static str, ExitStatus) {
    let mut control = Control::new(socket);
    let mut idle = Idle::new(child.id());
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            // It went without standing still: what was seen last is of an earlier moment, maybe of the firmware.
            seen.registers = None;
            return ("exited", status);
        }
        // A PC says itself that it sleeps. Other machines are asked nothing: answering would take time of theirs.
        let asleep = if pc { control.look(seen) } else { control.greet().is_some() && idle.look() };
        let ended = control.stopped().or(if asleep { Some("halted") } else { None });
        let ended = ended.or(if seen.started.elapsed() >= limit { Some("time") } else { None });
        if let Some(ended) = ended {
            control.look(seen);
            control.send("quit", "");
            let status = last_status(child);
            // Later versions of QEMU stand still for a kernel that ends them with a code, too.
            let chosen = ended == "off" && status.code().unwrap_or(0) != 0;
            return (if chosen { "exited" } else { ended }, status);
        }
        control.listen();
    }
}

fn last_status(child: &mut Child) -> ExitStatus {
    let asked = Instant::now();
    while asked.elapsed() < ANSWER {
        if let Ok(Some(status)) = child.try_wait() {
            return status;
        }
        thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    child.wait().unwrap_or_else(|_| ExitStatus::from_raw(0))
}

/// Whether the emulator's processor time stands still.
struct Idle {
    clock: c_int,
    since: Instant,
    used: Duration,
}

impl Idle {
    fn new(pid: u32) -> Idle {
        // The kernel's name for the processor time of a process: no file has to be readable for it.
        Idle { clock: (!(pid as c_int) << 3) | 2, since: Instant::now(), used: Duration::from_secs(0) }
    }

    fn look(&mut self) -> bool {
        if self.since.elapsed() < ASLEEP {
            return false;
        }
        let mut time: [c_long; 2] = [0, 0];
        let known = unsafe { clock_gettime(self.clock, &mut time) } == 0;
        let used = Duration::new(time[0] as u64, time[1] as u32);
        let asleep = known && used < self.used + IDLE;
        self.since = Instant::now();
        self.used = used;
        asleep
    }
}

/// QEMU's control socket: one JSON object a line, both ways.
struct Control {
    reader: BufReader<UnixStream>,
    ready: bool,
    events: Vec<String>,
    partial: String,
}

impl Control {
    fn new(socket: UnixStream) -> Control {
        let _ = socket.set_read_timeout(Some(ANSWER));
        Control { reader: BufReader::new(socket), ready: false, events: Vec::new(), partial: String::new() }
    }

    /// Why the machine stands still: it switched itself off, or it began anew.
    fn stopped(&self) -> Option<&'static str> {
        let down = self.events.iter().find(|line| line.contains("\"SHUTDOWN\""))?;
        Some(if down.contains("guest-reset") { "reset" } else { "off" })
    }

    /// Look at the registers, and at the text screen of a machine that has one; whether the processor sleeps for good.
    fn look(&mut self, seen: &mut Seen) -> bool {
        let registers = match self.monitor("info registers") {
            Some(registers) => registers,
            None => return false,
        };
        let halted = registers.contains("HLT=1") && interrupts_are_off(&registers);
        let pc = registers.contains("CR0=");
        seen.registers = Some(registers);
        if pc {
            let cells = self.monitor("xp /500xg 0xb8000").map(|dump| hexadecimal(&dump));
            if cells.is_some() && cells != seen.screen {
                seen.screen = cells;
                seen.write();
            }
        }
        halted
    }

    /// It greets first, and answers nothing before this command.
    fn greet(&mut self) -> Option<String> {
        if self.ready {
            return Some(String::new());
        }
        self.ready = true;
        self.line()?;
        self.send("qmp_capabilities", "")
    }

    /// Wait for what QEMU tells unasked, for the length of a tick.
    fn listen(&mut self) {
        let began = Instant::now();
        let _ = self.reader.get_ref().set_read_timeout(Some(TICK));
        if let Some(line) = self.line() {
            self.events.push(line);
        } else if began.elapsed() < TICK / 2 {
            thread::sleep(Duration::from_millis(1));
        }
        let _ = self.reader.get_ref().set_read_timeout(Some(ANSWER));
    }

    fn monitor(&mut self, line: &str) -> Option<String> {
        let answer =
            self.send("human-monitor-command", &format!(", \"arguments\": {{\"command-line\": {}}}", quoted(line)))?;
        let start = answer.find("\"return\": \"")? + 11;
        Some(unescaped(&answer[start..answer.rfind('"')?]))
    }

    /// The answer to a command; events that come before it are kept.
    fn send(&mut self, command: &str, rest: &str) -> Option<String> {
        self.greet()?;
        let text = format!("{{\"execute\": {}{}}}\n", quoted(command), rest);
        self.reader.get_mut().write_all(text.as_bytes()).ok()?;
        loop {
            let line = self.line()?;
            if line.contains("\"event\": ") && !line.starts_with("{\"return\"") {
                self.events.push(line);
            } else {
                return Some(line);
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        // What came of a line before the time was up is kept for the next time.
        match self.reader.read_line(&mut self.partial) {
            Ok(count) if count > 0 => Some(std::mem::take(&mut self.partial)),
            _ => None,
        }
    }
}

/// Bit 9 of the flags, from `RFL=00000046` or `EFL=00000046`: whether the processor listens to interrupts.
fn interrupts_are_off(registers: &str) -> bool {
    let flags = registers
        .find("FL=")
        .map(|at| registers[at + 3..].chars().take_while(char::is_ascii_hexdigit).collect::<String>());
    flags.and_then(|digits| u64::from_str_radix(&digits, 16).ok()).map_or(false, |flags| flags & 0x200 == 0)
}

/// `000b8000: 0x0720072007200720 0x…` as the bytes in the order of memory, two digits each.
fn hexadecimal(dump: &str) -> String {
    let words = dump.split_whitespace().filter_map(|word| word.strip_prefix("0x"));
    let mut digits = String::new();
    for word in words.filter_map(|word| u64::from_str_radix(word, 16).ok()) {
        for byte in word.to_le_bytes() {
            digits.push_str(&format!("{:02x}", byte));
        }
    }
    digits
}

fn quoted(text: &str) -> String {
    let mut result = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => result.extend(['\\', character]),
            '\n' => result.push_str("\\n"),
            '\r' => result.push_str("\\r"),
            '\t' => result.push_str("\\t"),
            other if (other as u32) < 32 => result.push_str(&format!("\\u{:04x}", other as u32)),
            other => result.push(other),
        }
    }
    result + "\""
}

fn unescaped(text: &str) -> String {
    let mut result = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => result.push('\n'),
                Some('t') => result.push('\t'),
                Some('r') | None => {}
                Some(other) => result.push(other),
            },
            other => result.push(other),
        }
    }
    result
}

/// What is told: the file is exchanged as a whole, so that a reader never sees half of it.
struct Seen {
    name: String,
    path: String,
    started: Instant,
    ended: Option<&'static str>,
    status: Option<ExitStatus>,
    said: String,
    screen: Option<String>,
    registers: Option<String>,
}

impl Seen {
    fn write(&self) {
        let text = |value: &Option<String>| value.as_ref().map_or("null".to_string(), |text| quoted(text));
        let number = |value: Option<i32>| value.map_or("null".to_string(), |number| number.to_string());
        let json = format!(
            "{{\"emulator\":{},\"ended\":{},\"code\":{},\"signal\":{},\"seconds\":{:.3},\"said\":{},\"screen\":{},\"registers\":{}}}\n",
            quoted(&self.name),
            self.ended.map_or("null".to_string(), quoted),
            number(self.status.and_then(|status| status.code())),
            number(self.status.and_then(|status| status.signal())),
            self.started.elapsed().as_secs_f64(),
            quoted(&self.said),
            text(&self.screen),
            text(&self.registers),
        );
        let draft = format!("{}.new", self.path);
        if fs::write(&draft, json).is_ok() {
            let _ = fs::rename(&draft, &self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shown_in_its_own_order() {
        assert_eq!(hexadecimal("000b8000: 0x0720074807200721\n"), "2107200748072007");
        assert_eq!(hexadecimal("000b8000: 0xnot hexadecimal"), "");
    }

    #[test]
    fn bit_nine_of_the_flags_tells_whether_interrupts_are_on() {
        assert!(interrupts_are_off("RIP=0 RFL=00000046 [---Z-P-]"));
        assert!(!interrupts_are_off("EIP=0 EFL=00000246 [---Z-P-]"));
        assert!(!interrupts_are_off("R0=0"));
    }

    #[test]
    fn quoting_is_undone_by_unescaping() {
        let text = "a \"b\" \\ c\n\tdü";
        let escaped = quoted(text);
        assert_eq!(escaped, "\"a \\\"b\\\" \\\\ c\\n\\tdü\"");
        assert_eq!(unescaped(&escaped[1..escaped.len() - 1]), text);
        assert_eq!(quoted("\u{1}"), "\"\\u0001\"");
    }

    #[test]
    fn a_machine_gets_no_window_and_no_network() {
        let more = additions(true, &[], 7).join(" ");
        assert!(more.starts_with("-display none -nic none"), "{more}");
        let chosen = additions(true, &["-nographic".to_string(), "-nic".to_string()], 7).join(" ");
        assert!(!chosen.contains("-display") && !chosen.contains("-nic"), "{chosen}");
    }
}
