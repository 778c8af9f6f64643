"""Attacks by the artifacts of a run and by false messages about them."""
# ruff: noqa: E501  (programs in another language stand in these lines)

import stat
import time
from pathlib import Path

import httpx

from bench.pace import pace
from tests.attacks.case import MANIFEST, Case, Check, Story, both, build_script, program, unseen
from tests.attacks.world import World, digest
from tests.support.environment import SLOWER_BY, seconds_since
from tests.support.files import below
from tests.support.polling import eventually

_EXE = 'let exe = "target/debug/blog_os"; fs::remove_file(exe);'
_FORGE = """
fn forged(path: &str) -> String {
    format!("{{\\"reason\\":\\"compiler-artifact\\",\\"package_id\\":\\"x\\",\\"manifest_path\\":\\"x\\",\\"target\\":{{\\"kind\\":[\\"bin\\"],\\"name\\":\\"blog_os\\"}},\\"profile\\":{{\\"test\\":false}},\\"features\\":[],\\"filenames\\":[\\"{path}\\"],\\"executable\\":\\"{path}\\",\\"fresh\\":false}}\\n")
}
"""
ELF = r"""
fn put(data: &mut [u8], at: usize, value: u64, size: usize) { data[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]); }
/// A section: type, flags, offset, size, link, entry size.
type Section = (u32, u64, u64, u64, u32, u64);
/// A 64-bit file: header, one program header, body from 4096 on, section headers at the end.
fn elf(entry: u64, segment: (u32, u64, u64), sections: &[Section], repeat: usize, body: &[u8]) -> Vec<u8> {
    let mut data = vec![0u8; 4096];
    data[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let table = 4096 + body.len() as u64;
    for (at, value, size) in [(16, 2, 2), (18, 62, 2), (20, 1, 4), (24, entry, 8), (32, 64, 8), (40, table, 8), (52, 64, 2),
                              (54, 56, 2), (56, 1, 2), (58, 64, 2), (60, (sections.len() * repeat) as u64, 2)] {
        put(&mut data, at, value, size);
    }
    for (at, value, size) in [(64, segment.0 as u64, 4), (72, segment.1, 8), (96, segment.2, 8), (104, segment.2, 8)] {
        put(&mut data, at, value, size);
    }
    data.extend_from_slice(body);
    for _ in 0..repeat {
        for (kind, flags, offset, size, link, each) in sections {
            let mut header = [0u8; 64];
            for (at, value, size) in [(4, *kind as u64, 4), (8, *flags, 8), (24, *offset, 8), (32, *size, 8), (40, *link as u64, 4), (56, *each, 8)] {
                put(&mut header, at, value, size);
            }
            data.extend_from_slice(&header);
        }
    }
    data
}
/// A symbol at the entry address.
fn symbol(name: u32, entry: u64) -> [u8; 24] {
    let mut data = [0u8; 24];
    put(&mut data, 0, name as u64, 4); data[4] = 2; data[6] = 1; put(&mut data, 8, entry, 8);
    data
}
/// Zeros, packed with zlib into a two-hundredth.
fn packed(megabytes: usize) -> Vec<u8> {
    let mut bits: Vec<u8> = vec![1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0];
    let mut data = vec![0x78u8, 0x01];
    let (mut byte, mut count) = (0u8, 0);
    let mut push = |bit: u8| { byte |= bit << count; count += 1; if count == 8 { data.push(byte); byte = 0; count = 0; } };
    for bit in bits { push(bit); }
    for _ in 0..megabytes * 1048576 / 258 { for bit in [1u8, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0] { push(bit); } }
    for _ in 0..24 { push(0); }
    data
}
"""


def _no_secret_file(world: World, story: Story) -> None:
    known = {digest(world.outside / name) for name in ("secret", "words", "kept")}
    assert (world.outside / "crate/target/debug/blog_os").read_text() == world.secrets["file"], "it was taken away"
    assert not [event for event in story.of("artifact") if event["sha256"] in known]
    unseen("file")(world, story)


def _regular_or_none(_world: World, story: Story) -> None:
    for event in story.of("artifact"):
        assert event["bytes"] <= 64 << 20
        assert event["path"].startswith("target/")
        assert ".." not in event["path"]


def _artifacts(world: World) -> list[Path]:
    """Return the files that the server has copied out of runs."""
    return [path for path in below(world.scratch) if path.parent.parent.name == "artifacts"]


def _kept_are_files(world: World, story: Story) -> None:
    _regular_or_none(world, story)
    for path in _artifacts(world):
        status = path.lstat()
        assert stat.S_ISREG(status.st_mode)
        assert status.st_blocks * 512 <= 80 << 20
        path.open("rb").close()


def _only_the_fit_one_beside(world: World, story: Story) -> None:
    [event] = story.of("artifact")
    assert event["format"] == "Mach-O"
    kept = [path for path in _artifacts(world) if path.name != "program"]
    assert {path.read_bytes() for path in kept} == {b"fit"}
    assert not list(world.scratch.glob(f"*/artifacts/{story.run_id}")), "the name says whose it is"


def _ask_all_the_while(world: World) -> None:
    """Measure how long the server takes to answer while it reads the artifact."""
    slowest = 0.0
    until = time.monotonic() + 3
    with httpx.Client(base_url=world.server.url, timeout=20) as client:
        while time.monotonic() < until:
            asked = time.monotonic()
            client.get("/healthz")
            slowest = max(slowest, seconds_since(asked))
            time.sleep(0.05)
    world.notes["slowest"] = str(max(slowest, float(world.notes.get("slowest", "0"))))


def server_well(world: World, story: Story) -> None:
    """Check that the server kept answering, with little memory and a short log."""
    assert story.peaks["server"] < 250 << 20
    assert len(story.raw) < 3 << 20
    assert story.seconds < 16
    assert float(world.notes.get("slowest", "0")) < 2
    assert story.finished


def _elf_case(id_: str, tries: str, body: str, held: Check = server_well) -> Case:
    source = program(f'{body}\n{_EXE}\nprintln!("{{:?}}", fs::write(exe, data));', ELF)
    return Case(id_, tries, held, source, where="tight", during=_ask_all_the_while)


MACRO_MANIFEST = (
    MANIFEST
    + """[lib]
name = "helper"
path = "src/main.rs"
proc-macro = true
[[bin]]
name = "blog_os"
path = "src/main.rs"
"""
)


def macro_crate(body: str) -> str:
    """Return a crate whose procedural macro writes into cargo's stream and ends the compiler."""
    return f"""#[cfg(proc_macro)] extern crate proc_macro;
#[cfg(proc_macro)] #[proc_macro]
pub fn act(_: proc_macro::TokenStream) -> proc_macro::TokenStream {{
    use std::{{fs, io::Write, os::unix::fs as ufs}};
    println!("begun");
    let forge = |path: &str| println!("{{{{\\"reason\\":\\"compiler-artifact\\",\\"executable\\":\\"{{path}}\\",\\"profile\\":{{{{}}}}}}}}");
    let here = std::env::current_dir().unwrap();
    let crate_dir = here.display().to_string();
    {body}
    std::io::stdout().flush().unwrap();
    std::process::exit(1)
}}
#[cfg(not(proc_macro))] fn main() {{ helper::act!(); }}
"""


def _never_frozen(world: World, story: Story) -> None:
    assert float(world.notes.get("slowest", "0")) < 1.5 * SLOWER_BY
    assert "operator" not in story.text


def _closed_and_gone(world: World, story: Story) -> None:
    # The watcher of a normal user's server cannot read the closed folder, so it counts the most that it may hold.
    assert story.finished["limit"] in ("processes", "files")
    _scratch_small(world, story)
    assert [event["status"] for event in world.honest() if event["type"] == "finished"] == ["ok"]


def _soon(_world: World, story: Story) -> None:
    assert story.seconds < 16


def _no_giant(_world: World, story: Story) -> None:
    assert not [event for event in story.of("artifact") if event["bytes"] > 64 << 20]


def _still(world: World, _story: Story) -> None:
    assert (world.outside / "secret").read_text() == world.secrets["file"]


def _scratch_small(world: World, _story: Story) -> None:
    """Check that soon only running runs have a folder."""

    def folders() -> int:
        return sum(path.parent.parent == world.scratch and path.name.isdigit() for path in below(world.scratch))

    eventually(lambda: folders() <= 6, 8)  # those of the neighbour and of concurrent attacks
    time.sleep(1)
    assert not [path for path in below(world.scratch) if path.name in ("stays", "deep")]


def _finished_in_words(_world: World, story: Story) -> None:
    assert story.finished["seconds"] < 16 * pace()
    assert "operator" not in story.text, "the reader raised"


CASES = (
    Case(
        "artifact-symlink",
        "leave a symbolic link to an outside file as the artifact",
        _no_secret_file,
        program(f'{_EXE} println!("{{:?}}", ufs::symlink("@OUT@/secret", exe));'),
    ),
    Case(
        "artifact-folder-link",
        "leave a link to an outside folder in place of target/debug",
        _no_secret_file,
        program("""
            fs::rename("target/debug", "target/gone");
            fs::create_dir_all("target");
            println!("{:?}", ufs::symlink("@OUT@", "target/debug"));"""),
        MANIFEST.replace('name = "blog_os"', 'name = "secret"', 1),
    ),
    Case(
        "artifact-crate-link",
        "leave a link to an outside folder in place of the crate",
        both(_no_secret_file, _still),
        program("""
            let here = std::env::current_dir().unwrap();
            println!("{:?}", fs::rename(&here, here.with_file_name("old")));
            println!("{:?}", ufs::symlink("@OUT@/crate", &here));"""),
    ),
    Case(
        "artifact-crate-swap",
        "name an outside file in cargo's own message, and replace the crate with a link to its folder",
        both(_no_secret_file, _still),
        macro_crate("""
            forge(&format!("{crate_dir}/secret"));
            println!("{:?}", fs::rename(&here, here.with_file_name("old")));
            println!("{:?}", ufs::symlink("@OUT@", &here));"""),
        MACRO_MANIFEST,
        command="cargo build",
    ),
    Case(
        "artifact-path-freeze",
        "name a file behind thousands of links, each a long detour, and one below 60,000 folders",
        _never_frozen,
        macro_crate("""
            fs::create_dir("d").unwrap();
            for n in 0..1200 { ufs::symlink(format!("{}l{}", "d/../".repeat(800), n + 1), format!("l{n}")).unwrap(); }
            forge(&format!("{crate_dir}/{}x", "d/".repeat(60_000)));
            forge(&format!("{crate_dir}/l0/x"));"""),
        MACRO_MANIFEST,
        command="cargo build",
        during=_ask_all_the_while,
    ),
    Case(
        "deep-look",
        "leave 5,000 folders at the end of the longest path, to delay the last scan of the folder",
        _never_frozen,
        program("""
            for _ in 0..1800 { if fs::create_dir("d").is_err() || std::env::set_current_dir("d").is_err() { break; } }
            for n in 0..5000 { if fs::create_dir(n.to_string()).is_err() { break; } }"""),
        during=_ask_all_the_while,
    ),
    Case(
        "closed-and-limit",
        "remove all permissions from a folder at the moment when another limit ends the run",
        _closed_and_gone,
        program("""
            fs::create_dir_all("stays/deep").unwrap();
            fs::write("stays/deep/file", "x").unwrap();
            thread::spawn(|| loop { fs::set_permissions("stays", fs::Permissions::from_mode(0)); });
            let mut all = vec![];
            for _ in 0..400 { if let Ok(one) = Command::new("/bin/sleep").arg("20").spawn() { all.push(one); } }
            nap(8000);"""),
        where="tight",
        normal=True,
    ),
    Case(
        "artifact-hard-link",
        "leave a hard link to an outside file as the artifact",
        both(
            _no_secret_file,
            _still,
        ),
        program(f'{_EXE} println!("{{:?}}", fs::hard_link("@OUT@/secret", exe));'),
    ),
    Case(
        "artifact-fifo",
        "leave a named pipe as the artifact, so that opening it blocks forever",
        both(_kept_are_files, _soon),
        program(f'{_EXE} println!("{{}}", unsafe {{ mkfifo(c(exe).as_ptr(), 0o666) }});'),
    ),
    Case(
        "artifact-device",
        "leave an endless device as the artifact",
        both(_kept_are_files, _soon),
        program(f'{_EXE} println!("{{}}", unsafe {{ mknod(c(exe).as_ptr(), 0o020666, (1 << 8) | 5) }});'),
    ),
    Case(
        "artifact-folder",
        "leave a folder that nobody may enter as the artifact",
        both(_kept_are_files, _scratch_small),
        program(f"""{_EXE}
            fs::create_dir(exe);
            fs::create_dir_all("deep/er");
            fs::write("deep/er/file", "x");
            for path in [exe, "deep/er", "deep", "src", "."] {{
                println!("{{:?}}", fs::set_permissions(path, fs::Permissions::from_mode(0)));
            }}"""),
    ),
    Case(
        "artifact-sparse",
        "leave a sparse file of 10 GB as the artifact",
        both(_kept_are_files, _soon, _no_giant),
        program(f'{_EXE} println!("{{:?}}", fs::File::create(exe).and_then(|file| file.set_len(10 << 30)));'),
    ),
    Case(
        "artifact-beside",
        "leave a link, a pipe, a folder and a huge file in place of the files that are kept with the artifact",
        both(_kept_are_files, both(_only_the_fit_one_beside, _soon)),
        program(f"""{_EXE}
            let mut data = vec![0xcf, 0xfa, 0xed, 0xfe, 7, 0, 0, 1, 3, 0, 0, 0, 2];
            data.resize(32, 0);
            println!("{{:?}}", fs::write(exe, data));
            println!("{{:?}}", fs::write("target/debug/deps/blog_os-1.o", "fit"));
            println!("{{:?}}", ufs::symlink("@OUT@/secret", "target/debug/deps/blog_os-2.o"));
            println!("{{}}", unsafe {{ mkfifo(c("target/debug/deps/blog_os-3.o").as_ptr(), 0o666) }});
            println!("{{:?}}", fs::create_dir("target/debug/deps/blog_os-4.o"));
            println!("{{:?}}", fs::File::create("target/debug/deps/blog_os-5.o").and_then(|file| file.set_len(20 << 20)));"""),
    ),
    Case(
        "artifact-immutable",
        "leave files that cannot be removed: immutable, and below a path too long to name",
        both(_scratch_small, _finished_in_words),
        program("""
            extern "C" { fn ioctl(fd: i32, what: u64, ...) -> i32; }
            fs::write("stays", "x").unwrap();
            let flags = 0x10i64;
            println!("{}", unsafe { ioctl(fs::File::open("stays").unwrap().as_raw_fd(), 0x40086602, &flags as *const i64) });
            for _ in 0..60 {
                let name = "d".repeat(200);
                if fs::create_dir(&name).is_err() || std::env::set_current_dir(&name).is_err() { break; }
            }
            println!("{:?}", fs::write("file", "x"));"""),
        safe=False,
    ),
    Case(
        "forge-by-program",
        "print cargo's message about an artifact outside the crate",
        _no_secret_file,
        program('print!("{}", forged("@OUT@/secret"));', _FORGE),
    ),
    Case(
        "forge-by-build-script",
        "make a build script print cargo's messages, and write them to cargo's own output",
        _no_secret_file,
        *build_script(
            """
            let inside = format!("{}/target/debug/blog_os", std::env::var("CARGO_MANIFEST_DIR").unwrap());
            fs::create_dir_all("target/debug");
            ufs::symlink("@OUT@/secret", &inside);
            let mut text = forged(&inside) + &forged("@OUT@/secret") + &forged("target/../../../@OUT@/secret");
            text += "{\\"reason\\":\\"build-finished\\",\\"success\\":true}\\n";
            print!("{text}");
            let mut pid = unsafe { getppid() };
            for _ in 0..3 {
                for fd in [1, 2] {
                    let opened = fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/fd/{fd}"));
                    if let Ok(mut out) = opened { println!("{:?}", out.write_all(text.as_bytes())); }
                }
                let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                pid = line.rsplit(')').next().unwrap().split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
            }""",
            _FORGE,
        ),
        command="cargo build",
    ),
    Case(
        "forge-by-malformed",
        "send malformed cargo messages, to stop the server's reader",
        _finished_in_words,
        *build_script(
            """
            let opened = fs::OpenOptions::new().write(true).open(format!("/proc/{}/fd/1", unsafe { getppid() }));
            let mut text = String::new();
            for reason in ["compiler-message", "compiler-artifact", "build-finished", "build-script-executed", "other"] {
                for rest in ["", ",\\"message\\":5", ",\\"message\\":{}", ",\\"message\\":{\\"level\\":[],\\"message\\":{}}",
                             ",\\"executable\\":{}", ",\\"executable\\":\\"\\\\u0000\\",\\"profile\\":{}", ",\\"executable\\":\\"/\\",\\"profile\\":[]",
                             ",\\"message\\":{\\"level\\":\\"error\\",\\"message\\":\\"x\\",\\"spans\\":[{}]}"] {
                    if reason != "build-finished" { text += &format!("{{\\"reason\\":\\"{reason}\\"{rest}}}\\n"); }
                }
            }
            text += &format!("{{\\"reason\\":{}{}\\n", "[".repeat(200_000), "{\\"reason\\":");
            if let Ok(mut out) = opened { println!("{:?}", out.write_all(text.as_bytes())); }""",
        ),
        command="cargo build",
        begun=False,
    ),
    _elf_case(
        "elf-names",
        "leave an ELF file with 300,000 symbols at its entry, each with a name of 12 MB",
        """
        let (count, long) = (300_000usize, 12_000_000usize);
        let mut body = vec![];
        for _ in 0..count { body.extend_from_slice(&symbol(1, 0x1000)); }
        let names = body.len();
        body.extend_from_slice(b"\\0$");
        body.resize(names + long, b'a');
        body.push(0);
        let data = elf(0x1000, (0, 0, 0), &[(0, 0, 0, 0, 0, 0), (2, 0, 4096, names as u64, 2, 24), (3, 0, 4096 + names as u64, long as u64 + 1, 0, 0)], 1, &body);
        """,
    ),
    _elf_case(
        "elf-tables",
        "leave an ELF file with 20,000 symbol tables, all of them the same 20 MB",
        """
        let body: Vec<u8> = symbol(1, 0x2000).repeat(850_000);
        let size = body.len() as u64;
        let data = elf(0x1000, (0, 0, 0), &[(2, 0, 4096, size, 1, 24), (3, 0, 4096, 64, 0, 0)], 10_000, &body);
        """,
    ),
    _elf_case(
        "elf-packed",
        "leave an ELF file with a compressed section that unpacks to 2 GB",
        """
        let mut body = vec![];
        for _ in 0..10 { body.extend_from_slice(&symbol(1, 0x1000)); }
        body.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
        body.extend_from_slice(&(2u64 << 30).to_le_bytes());
        body.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
        body.extend_from_slice(&packed(2048));
        let size = body.len() as u64 - 240;
        let data = elf(0x1000, (0, 0, 0), &[(0, 0, 0, 0, 0, 0), (2, 0, 4096, 240, 2, 24), (3, 0x800, 4336, size, 0, 0)], 1, &body);
        """,
    ),
    _elf_case(
        "elf-libraries",
        "leave an ELF file that needs 1,500 libraries, each with a name of 1 MB",
        """
        let (count, long) = (1500usize, 1_000_000usize);
        let mut body = vec![];
        for at in 0..count { body.extend_from_slice(&1u64.to_le_bytes()); body.extend_from_slice(&1u64.to_le_bytes()); }
        body.extend_from_slice(&[0; 16]);
        let names = body.len();
        body.push(0);
        body.resize(names + long, b'a');
        body.push(0);
        let data = elf(0, (2, 4096, names as u64), &[(0, 0, 0, 0, 0, 0), (6, 0, 4096, names as u64, 2, 16), (3, 0, 4096 + names as u64, long as u64 + 1, 0, 0)], 1, &body);
        """,
    ),
    _elf_case(
        "elf-loader",
        "leave an ELF file whose loader and entry have names of 12 MB",
        """
        let long = 12_000_000usize;
        let mut body = symbol(0, 0x1000).to_vec();
        body.resize(24 + long, b'a');
        body.push(0);
        let data = elf(0x1000, (3, 4120, long as u64 + 1), &[(0, 0, 0, 0, 0, 0), (2, 0, 4096, 24, 2, 24), (3, 0, 4120, long as u64 + 1, 0, 0)], 1, &body);
        """,
    ),
    _elf_case(
        "elf-nonsense",
        "leave an ELF file whose counts, sizes and offsets point at themselves and past the end",
        """
        let mut data = elf(0x1000, (2, u64::MAX - 3, u64::MAX), &[(2, 0, u64::MAX, u64::MAX, 1, 0), (3, 0, 1 << 62, 1 << 62, 0, 0), (6, 0, 64, 1 << 40, 0, 0)], 20_000, &[0xff; 64]);
        put(&mut data, 56, 0xffff, 2);
        put(&mut data, 60, 0, 2);
        put(&mut data, 62, 0xffff, 2);
        """,
    ),
)
