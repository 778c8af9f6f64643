//! The seccomp filter: `calls.txt` compiled to a BPF program.
//!
//! For calls that are allowed whatever their arguments, the kernel caches the result, so these cost nothing.

use crate::{fail, prctl, PR_SET_SECCOMP};
use std::ffi::c_ulong;

const CALLS: &str = include_str!("calls.txt");

#[cfg(target_arch = "x86_64")]
mod machine {
    pub const AUDIT: u32 = 0xc000_003e;
    pub const COLUMN: usize = 1;
    pub const O_DIRECT: u32 = 0o40000;
}

#[cfg(target_arch = "aarch64")]
mod machine {
    pub const AUDIT: u32 = 0xc000_00b7;
    pub const COLUMN: usize = 2;
    pub const O_DIRECT: u32 = 0o200000;
}

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
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

const KILL: u32 = 0x8000_0000;
const ALLOW: u32 = 0x7fff_0000;
const ANSWER: u32 = 0x0005_0000;
const EPERM: u32 = ANSWER | 1;
const EINVAL: u32 = ANSWER | 22;
const ENOTTY: u32 = ANSWER | 25;
const ENOSYS: u32 = ANSWER | 38;
const ENOPROTOOPT: u32 = ANSWER | 92;
const EOPNOTSUPP: u32 = ANSWER | 95;

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The offset of the low half of an argument. The kernel itself ignores the high half of an `int`.
const ARGUMENTS: [u32; 6] = [16, 24, 32, 40, 48, 56];
const HIGH_HALF: u32 = 4;
const WHOLE: u32 = u32::MAX;

/// Flags for writes that reach the disk before the call returns: O_DSYNC, which is part of O_SYNC, and O_DIRECT.
const THROUGH: u32 = 0o10000 | machine::O_DIRECT;
const F_SETFL: u32 = 4;
const ACCESS_OR_TRUNCATE: u32 = 0o1003;
const TRUNCATE_READING: u32 = 0o1000;
/// F_DUPFD to F_SETLKW; F_OFD_GETLK to F_OFD_SETLKW; F_DUPFD_CLOEXEC, F_GETPIPE_SZ, F_GET_SEALS.
const FCNTL: &[u32] = &[0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032, 1034];
/// TCGETS, TCGETS2, TIOCGPGRP, TIOCGWINSZ; FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
const IOCTL: &[u32] = &[0x5401, 0x802c_542a, 0x540f, 0x5413, 0x541b, 0x5421, 0x5450, 0x5451];
/// Death signal, PR_GET_DUMPABLE, name, PR_GET_SECCOMP, PR_CAPBSET_READ, timer slack, no_new_privs, PR_GET_TID_ADDRESS,
/// huge pages, PR_CAP_AMBIENT.
const PRCTL: &[u32] = &[1, 2, 3, 15, 16, 21, 23, 29, 30, 38, 39, 40, 41, 42, 47];
/// MADV_NORMAL to MADV_DONTNEED; MADV_FREE, MADV_REMOVE; fork, huge pages, dumps; population; guards.
const MADVISE: &[u32] = &[0, 1, 2, 3, 4, 8, 9, 10, 11, 14, 15, 16, 17, 18, 19, 22, 23, 24, 102, 103];
const MAP_HUGETLB: u32 = 0x4_0000;
const SHARED_ANONYMOUS: u32 = 0x21;
const NEW_NAMESPACES: u32 = 0x7e02_0080;
const THREAD: u32 = 0x1_0000;
const SAME_FILES: u32 = 0x400;
const RLIMIT_CORE: u32 = 4;
const CLOSE_RANGE_UNSHARE: u32 = 2;
const AF_UNIX: u32 = 1;
const KIND: u32 = 0xf;
const STREAM: u32 = 1;
const SEQUENCE: u32 = 5;
const SOL_SOCKET: u32 = 1;
/// SO_REUSEADDR, SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE, SO_RCVTIMEO and SO_SNDTIMEO, old and new.
const SETSOCKOPT: &[u32] = &[2, 7, 8, 9, 20, 21, 66, 67];
fn step(code: u16, k: u32, yes: u8, no: u8) -> Instruction {
    Instruction { code, yes, no, k }
}

/// The instructions for a verdict of `calls.txt`.
fn verdict(word: &str, filters: bool) -> Vec<Instruction> {
    let [first, second, third, fourth, fifth, _] = ARGUMENTS;
    match word {
        "allowed" => vec![step(RETURN, ALLOW, 0, 0)],
        "answered" => vec![step(RETURN, ANSWER, 0, 0)],
        "EPERM" => vec![step(RETURN, EPERM, 0, 0)],
        "ENOSYS" => vec![step(RETURN, ENOSYS, 0, 0)],
        "EOPNOTSUPP" => vec![step(RETURN, EOPNOTSUPP, 0, 0)],
        "open" => unless(second, THROUGH, ACCESS_OR_TRUNCATE, TRUNCATE_READING),
        "openat" => unless(third, THROUGH, ACCESS_OR_TRUNCATE, TRUNCATE_READING),
        "mmap" => unless(fourth, MAP_HUGETLB, SHARED_ANONYMOUS, SHARED_ANONYMOUS),
        "clone" => unless(first, NEW_NAMESPACES, THREAD | SAME_FILES, THREAD),
        "close-range" => only(&[(third, CLOSE_RANGE_UNSHARE, &[0])], EPERM),
        "fcntl" => {
            let mut program = vec![
                step(LOAD, second, 0, 0),
                step(EQUAL, F_SETFL, 0, 3),
                step(LOAD, third, 0, 0),
                step(ANY_BIT, machine::O_DIRECT, 0, 1),
                step(RETURN, EINVAL, 0, 0),
            ];
            program.extend(only(&[(second, WHOLE, FCNTL)], EINVAL));
            program
        }
        "ioctl" => only(&[(second, WHOLE, IOCTL)], ENOTTY),
        "prctl" if filters => only(&[(first, WHOLE, &[PRCTL, &[PR_SET_SECCOMP as u32]].concat())], EINVAL),
        "prctl" => only(&[(first, WHOLE, PRCTL)], EINVAL),
        "madvise" => only(&[(third, WHOLE, MADVISE)], EINVAL),
        "setrlimit" => unless(first, 0, WHOLE, RLIMIT_CORE),
        "prlimit" => vec![
            step(LOAD, first, 0, 0),
            step(EQUAL, 0, 0, 7),
            step(LOAD, second, 0, 0),
            step(EQUAL, RLIMIT_CORE, 0, 4),
            step(LOAD, third, 0, 0),
            step(EQUAL, 0, 0, 3),
            step(LOAD, third + HIGH_HALF, 0, 0),
            step(EQUAL, 0, 0, 1),
            step(RETURN, ALLOW, 0, 0),
            step(RETURN, EPERM, 0, 0),
        ],
        "socketpair" => only(&[(first, WHOLE, &[AF_UNIX]), (second, KIND, &[STREAM, SEQUENCE])], EPERM),
        "sendto" => only(&[(fifth, WHOLE, &[0]), (fifth + HIGH_HALF, WHOLE, &[0])], EPERM),
        "setsockopt" => only(&[(second, WHOLE, &[SOL_SOCKET]), (third, WHOLE, SETSOCKOPT)], ENOPROTOOPT),
        _ => fail("an unknown verdict in calls.txt"),
    }
}

/// Allow the call unless an argument has any of these bits, or this value after the mask is applied.
fn unless(argument: u32, bits: u32, mask: u32, value: u32) -> Vec<Instruction> {
    vec![
        step(LOAD, argument, 0, 0),
        step(ANY_BIT, bits, 3, 0),
        step(AND, mask, 0, 0),
        step(EQUAL, value, 1, 0),
        step(RETURN, ALLOW, 0, 0),
        step(RETURN, EPERM, 0, 0),
    ]
}

/// Allow the call if each argument has one of the given values after its mask is applied.
fn only(conditions: &[(u32, u32, &[u32])], otherwise: u32) -> Vec<Instruction> {
    let mut program = Vec::new();
    for (argument, mask, values) in conditions {
        program.push(step(LOAD, *argument, 0, 0));
        program.push(step(AND, *mask, 0, 0));
        for (at, value) in values.iter().enumerate() {
            program.push(step(EQUAL, *value, (values.len() - at) as u8, 0));
        }
        program.push(step(RETURN, otherwise, 0, 0));
    }
    program.push(step(RETURN, ALLOW, 0, 0));
    program
}

/// The first number of each range of calls with the same verdict. Numbers after the last range are unknown.
fn stretches() -> Vec<(u32, &'static str)> {
    let mut verdicts: Vec<&str> = Vec::with_capacity(512);
    let mut word = "";
    for line in CALLS.lines() {
        let mut words = line.split_ascii_whitespace();
        if line.starts_with(' ') {
            let number = words.nth(machine::COLUMN).unwrap_or_else(|| fail("a line of calls.txt"));
            if let Ok(number) = number.parse::<usize>() {
                verdicts.resize(verdicts.len().max(number + 1), "ENOSYS");
                verdicts[number] = word;
            }
        } else if !line.starts_with('#') {
            word = words.next().unwrap_or(word);
        }
    }
    verdicts.push("ENOSYS");
    let mut found: Vec<(u32, &str)> = Vec::new();
    for (number, word) in verdicts.into_iter().enumerate() {
        if found.last().map_or(true, |(_, before)| *before != word) {
            found.push((number as u32, word));
        }
    }
    found
}

/// Search for the range that contains the number, by halves, and return its verdict.
fn search(stretches: &[(u32, &str)], filters: bool) -> Vec<Instruction> {
    if let [(_, word)] = stretches {
        return verdict(word, filters);
    }
    let (low, high) = stretches.split_at(stretches.len() / 2);
    let below = search(low, filters);
    let mut program = match u8::try_from(below.len()) {
        Ok(distance) => vec![step(AT_LEAST, high[0].0, distance, 0)],
        // A conditional jump skips at most 255 instructions.
        Err(_) => vec![step(AT_LEAST, high[0].0, 0, 1), step(JUMP, below.len() as u32, 0, 0)],
    };
    program.extend(below);
    program.extend(search(high, filters));
    program
}

/// Restrict this process and its descendants to `calls.txt`; with `filters` they may install filters, too.
pub fn seccomp(filters: bool) {
    let mut program = vec![
        step(LOAD, ARCHITECTURE, 0, 0),
        step(EQUAL, machine::AUDIT, 1, 0),
        step(RETURN, KILL, 0, 0),
        step(LOAD, NUMBER, 0, 0),
    ];
    // The x32 calls of x86-64 have numbers far above the last one, so they are unknown.
    program.extend(search(&stretches(), filters));
    let filter = Filter { length: program.len() as u16, instructions: program.as_ptr() };
    if unsafe { prctl(PR_SET_SECCOMP, 2 as c_ulong, &filter as *const Filter) } != 0 {
        fail("seccomp");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(program: &[Instruction]) -> Vec<(u16, u8, u8, u32)> {
        program.iter().map(|one| (one.code, one.yes, one.no, one.k)).collect()
    }

    /// The verdict at which the search ends for the number of a call.
    fn found(program: &[Instruction], number: u32) -> usize {
        let mut at = 0;
        loop {
            let one = &program[at];
            at += match one.code {
                AT_LEAST => 1 + usize::from(if number >= one.k { one.yes } else { one.no }),
                JUMP => 1 + one.k as usize,
                _ => return at,
            };
        }
    }

    #[test]
    fn stretches_ascend_and_what_is_behind_the_last_is_unknown() {
        let all = stretches();
        assert_eq!(all[0].0, 0);
        assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1));
        assert_eq!(all[all.len() - 1].1, "ENOSYS");
    }

    #[test]
    fn the_search_finds_the_verdict_of_every_call() {
        let all = stretches();
        let program = search(&all, false);
        for number in (0..1_000).chain([u32::MAX]) {
            let word = all.iter().rev().find(|(first, _)| *first <= number).unwrap().1;
            let wanted = fields(&verdict(word, false));
            let at = found(&program, number);
            assert_eq!(fields(&program[at..at + wanted.len()]), wanted, "call {number} is {word}");
        }
    }
}
