"""Attacks that outlive the run or reach for other processes."""
# ruff: noqa: E501  (programs in another language stand in these lines)

import contextlib
import os
import time
from pathlib import Path

from tests.attacks.case import Case, Check, Story, both, program
from tests.attacks.world import World
from tests.support.environment import SLOWER_BY
from tests.support.polling import eventually


def gone(id_: str) -> Check:
    """Check that no process of the case is left soon after its run."""

    def held(world: World, _story: Story) -> None:
        mark = f"mark-{id_}-{world.token}"
        time.sleep(0.5)

        def left() -> list[int]:
            # A single scan may miss a process that is being replaced by its child.
            return [pid for _ in range(5) for pid in world.marked(mark)]

        if eventually(lambda: not left(), 2):
            return
        found = left()
        for _ in range(2000):
            for pid in world.marked(mark):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
        raise AssertionError(f"processes {found} are left")

    return held


def untold(signal: int) -> Check:
    """Check that the stand-in for the server did not receive this signal."""

    def held(world: World, _story: Story) -> None:
        told = world.folder / "signals"
        assert f"signal {signal}\n" not in (told.read_text() if told.exists() else "")
        assert world.victim.poll() is None

    return held


def _limits_unmoved(world: World, _story: Story) -> None:
    assert "Max open files            7 " not in Path(f"/proc/{world.victim.pid}/limits").read_text()


def _not_slowed(world: World, _story: Story) -> None:
    victim = world.victim.pid
    assert os.getpriority(os.PRIO_PROCESS, victim) == os.getpriority(os.PRIO_PROCESS, 0)
    assert os.sched_getscheduler(victim) == os.sched_getscheduler(0)
    assert os.sched_getaffinity(victim) == os.sched_getaffinity(0)


def _server_well(world: World, _story: Story) -> None:
    assert world.server.process.poll() is None
    with world.client() as client:
        assert client.get("/healthz").status_code == 200


def _neighbour_well(world: World, _story: Story) -> None:
    pid = world.neighbour()
    assert pid
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T"


def _ended_soon(id_: str, most: float) -> Check:
    def held(world: World, story: Story) -> None:
        gone(id_)(world, story)
        assert story.seconds < most * SLOWER_BY

    return held


def _not_raised(_world: World, story: Story) -> None:
    assert "RAISED" not in story.text


_SLEEP = 'if told("sleep") { nap(200_000); return; }'
_DAEMON = (
    _SLEEP
    + """
    unsafe {
        if fork() == 0 {
            setsid();
            if fork() == 0 { again("sleep").exec(); }
            exit(0);
        }
    }
    nap(300);
"""
)

CASES = (
    Case(
        "daemon",
        "leave a daemon behind by forking twice, in its own session",
        gone("daemon"),
        program(_DAEMON),
    ),
    Case(
        "daemon-nohup",
        "leave a program behind with the shell's nohup and setsid",
        gone("daemon-nohup"),
        program("""
            if told("sleep") { nap(200_000); return; }
            let me = std::env::current_exe().unwrap();
            println!("{:?}", Command::new("/bin/sh").arg("-c")
                .arg(format!("nohup setsid {} sleep @MARK@ >/dev/null 2>&1 </dev/null &", me.display())).status());
            nap(500);"""),
    ),
    Case(
        "daemon-pipes",
        "leave a daemon behind that keeps the run's output open, so that the run never ends",
        _ended_soon("daemon-pipes", 10),
        program(_SLEEP + 'unsafe { if fork() == 0 { setsid(); again("sleep").exec(); } } nap(300);'),
    ),
    Case(
        "daemon-deaf",
        "leave a daemon behind that ignores every signal it can",
        gone("daemon-deaf"),
        program("""
            if told("sleep") { for n in 1..65 { unsafe { signal(n, 1); } } nap(200_000); return; }
            unsafe { if fork() == 0 { setsid(); again("sleep").exec(); } }
            nap(300);"""),
    ),
    Case(
        "daemon-moving",
        "leave a chain of processes behind, each of which only forks the next",
        gone("daemon-moving"),
        program("""
            if told("sleep") {
                // Fast while the run is being ended, then slowly enough to be seen from outside.
                let began = Instant::now();
                while began.elapsed() < Duration::from_secs(200) {
                    unsafe { if fork() != 0 { exit(0); } setsid(); }
                    nap(if began.elapsed() < Duration::from_secs(2) { 1 } else { 300 });
                }
                return;
            }
            unsafe { if fork() == 0 { setsid(); again("sleep").exec(); } }
            nap(300);"""),
    ),
    Case(
        "daemon-of-build-script",
        "leave a daemon behind in a build script",
        gone("daemon-of-build-script"),
        program(
            _SLEEP
            + 'if std::env::var("NUM_JOBS").is_ok() {'
            + _DAEMON.replace(_SLEEP, "").replace("exec()", "stdout(Stdio::null()).stderr(Stdio::null()).exec()")
            + "exit(1); }"
        ),
        '[package]\nname = "blog_os"\nversion = "0.1.0"\nedition = "2021"\nbuild = "src/main.rs"\n',
        command="cargo build",
    ),
    Case(
        "kill-other",
        "signal a process of the server's user by its id",
        untold(10),
        program('println!("{}", unsafe { kill(@VICTIM@, 10) }); nap(300);'),
    ),
    Case(
        "kill-all",
        "send a harmless signal to every process",
        untold(28),
        program('println!("{}", unsafe { kill(-1, 28) }); nap(300);'),
    ),
    Case(
        "kill-by-pidfd",
        "signal a process through a pidfd",
        untold(23),
        program("""
            let fd = unsafe { syscall(434, @VICTIM@i64, 0i64) };
            println!("{fd} {}", unsafe { syscall(424, fd, 23i64, 0i64, 0i64) });
            nap(300);"""),
    ),
    Case(
        "kill-group",
        "signal the process groups of other processes",
        untold(12),
        program('println!("{}", unsafe { kill(-@VICTIM@, 12) }); nap(300);'),
    ),
    Case(
        "kill-owner",
        "have the kernel signal another process as the owner of a pipe",
        untold(29),
        program("""
            extern "C" { fn pipe(fds: *mut i32) -> i32; fn fcntl(fd: i32, what: i32, ...) -> i32; }
            unsafe {
                let mut fds = [0i32; 2];
                pipe(fds.as_mut_ptr());
                println!("{} {} {}", fcntl(fds[0], 8, @VICTIM@), fcntl(fds[0], 10, 29), fcntl(fds[0], 4, 0o20000 | 0o4000));
                fs::File::from_raw_fd(fds[1]).write(b"x");
                nap(300);
            }"""),
    ),
    Case(
        "stop-neighbour",
        "stop or end another run's processes",
        _neighbour_well,
        program("""
            for pid in [@NEIGHBOUR_PID@].into_iter() { println!("{}", unsafe { kill(pid, 19) }); }
            nap(300);
            unsafe { kill(@NEIGHBOUR_PID@, 18); }
            println!("{}", unsafe { kill(@NEIGHBOUR_PID@, 9) });"""),
        safe=False,
    ),
    Case(
        "kill-ancestors",
        "leave a daemon behind, then kill every ancestor that could clean up, up to the server",
        both(gone("kill-ancestors"), _server_well),
        program(
            _DAEMON
            + """
            let mut pid = std::process::id() as i32;
            let mut line = vec![];
            while pid > 1 {
                let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else { break };
                pid = text.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
                line.push(pid);
            }
            line.push(unsafe { getppid() });
            line.push(@SERVER@);
            line.retain(|pid| *pid > 1);
            for pid in line.iter().rev() { unsafe { kill(*pid, 9); } }
            nap(1000);"""
        ),
        safe=False,
    ),
    Case(
        "stop-ancestors",
        "stop every ancestor, so that none of them can end the run",
        both(_server_well, _ended_soon("stop-ancestors", 14)),
        program(
            _SLEEP
            + """
            again("sleep").spawn().unwrap();
            for pid in [unsafe { getppid() }, @SERVER@].into_iter().chain(pids()) {
                if pid > 1 && pid as u32 != std::process::id() { unsafe { kill(pid, 19); } }
            }
            unsafe { kill(getppid(), 19); }
            nap(60_000);"""
        ),
        where="tight",
        safe=False,
    ),
    Case(
        "limit-other",
        "change another process's resource limits",
        _limits_unmoved,
        program("""
            let low = [7u64, 7];
            println!("{}", unsafe { syscall(call([302, 261]), @VICTIM@i64, 7i64, low.as_ptr(), 0i64) });"""),
    ),
    Case(
        "slow-other",
        "slow another process down by its priority, its scheduling and its CPU affinity",
        _not_slowed,
        program("""
            let (idle, first, plan) = (0i32, 1u64, [48u64 | 5 << 32, 0, 0, 0, 0, 0]);
            for pid in [@VICTIM@i64, unsafe { getppid() } as i64] {
                unsafe {
                    println!("{}", syscall(call([141, 140]), 0i64, pid, 19i64));
                    println!("{}", syscall(call([144, 119]), pid, 5i64, &idle as *const i32));
                    println!("{}", syscall(call([314, 274]), pid, plan.as_ptr(), 0i64));
                    println!("{}", syscall(call([203, 122]), pid, 8i64, &first as *const u64));
                    println!("{}", syscall(call([251, 30]), 1i64, pid, 3i64 << 13));
                }
            }"""),
    ),
    Case(
        "raise-priority",
        "get a higher priority, real-time scheduling, and protection from the OOM killer",
        _not_raised,
        program("""
            unsafe {
                if nice(-5) == -5 { println!("RAISED nice"); }
                let priority = 1i32;
                for policy in [1i64, 2] {
                    if syscall(call([144, 119]), 0i64, policy, &priority as *const i32) == 0 { println!("RAISED policy {policy}"); }
                }
            }
            if fs::write("/proc/self/oom_score_adj", "-500").is_ok() { println!("RAISED score"); }"""),
    ),
    Case(
        "setuid",
        "become root through a setuid program such as su or mount",
        _not_raised,
        program("""
            for name in ["su", "passwd", "mount", "chsh", "newgrp", "sudo", "pkexec"] {
                let Ok(mut child) = Command::new(format!("/usr/bin/{name}")).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()
                    else { continue };
                nap(30);
                let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
                println!("ran {name}");
                let privileged = status.lines().any(|line| line.starts_with("CapEff:") && line.trim_end().bytes().any(|b| b.is_ascii_hexdigit() && b != b'0' && !b"CapEff".contains(&b)));
                if privileged { println!("RAISED {name}"); }
                child.kill();
            }
            let status = fs::read_to_string("/proc/self/status").unwrap();
            for line in status.lines() {
                if line.starts_with("NoNewPrivs:") && line.ends_with("0") { println!("RAISED nothing forbids new privileges"); }
                if line.starts_with("CapEff:") && line != "CapEff:\\t0000000000000000" { println!("RAISED {line}"); }
                if line.starts_with("CapBnd:") || line.starts_with("Seccomp:") || line.starts_with("Uid:") { println!("{line}"); }
            }"""),
    ),
)
