"""Attacks that read files outside the run."""

from contextlib import suppress
from pathlib import Path

from tests.attacks.case import MANIFEST, Case, Story, build_script, program, unseen
from tests.attacks.world import World
from tests.support.files import below


def _no_shadow(_world: World, story: Story) -> None:
    try:
        lines = Path("/etc/shadow").read_text().splitlines()
    except OSError:
        lines = ["root:*:"]
    assert not [line for line in lines if line and line in story.text]


def _no_key(world: World, story: Story) -> None:
    for path in below(world.data):
        with suppress(FileNotFoundError):  # SQLite's own files come and go
            if path.is_file() and path.stat().st_size >= 16:
                assert path.read_bytes()[:16].hex() not in story.text, path.name


def _no_names(world: World, story: Story) -> None:
    listed = "".join(line for line in story.text.splitlines() if line.startswith("LISTED"))
    for name in (world.folder.name, world.home_file.name, "outside"):
        assert name not in listed


def _only_its_own_descriptors(_world: World, story: Story) -> None:
    for line in story.text.splitlines():
        if line.startswith("OPEN"):
            assert "/dev/null" in line or "pipe:" in line, line


def _no_first_block(_world: World, story: Story) -> None:
    assert "BLOCK" not in story.text


def _walk(*places: str) -> str:
    return "".join(
        f'all_files(Path::new("{place}"), 6, &mut |path| if let Ok(data) = fs::read(path) {{ hush(&data); }});\n'
        for place in places
    )


def _nothing_got(_world: World, story: Story) -> None:
    assert "GOT" not in story.text


CASES = (
    Case(
        "read-own-environment",
        "print every variable that the run was given",
        unseen("environment"),
        program('for pair in std::env::vars() { println!("{pair:?}"); }'),
    ),
    Case(
        "read-environments",
        "read /proc/*/environ of the server, of process 1 and of all others",
        unseen("environment", "memory"),
        program('for pid in pids() { if let Ok(d) = fs::read(format!("/proc/{pid}/environ")) { hush(&d); } }'),
    ),
    Case(
        "read-arguments",
        "read /proc/*/cmdline of other programs of the machine",
        unseen("argument"),
        program('for pid in pids() { if let Ok(d) = fs::read(format!("/proc/{pid}/cmdline")) { hush(&d); } }'),
    ),
    Case(
        "read-other-memory",
        "read another process's memory by /proc/PID/mem",
        unseen("memory"),
        program("""
            for pid in [@VICTIM@].into_iter().chain(pids()) {
                if let Ok(file) = fs::File::open(format!("/proc/{pid}/mem")) {
                    let mut data = [0u8; 64];
                    if file.read_at(&mut data, @ADDRESS@).is_ok() { hush(&data); }
                }
            }"""),
    ),
    Case(
        "read-by-proc-root",
        "reach files by /proc/PID/root and /proc/PID/cwd of every process",
        unseen("file", "home"),
        program("""
            for pid in pids() {
                for way in ["root", "cwd", "cwd/../../../../../../.."] {
                    for path in ["@OUT@/secret", "@HOME_FILE@"] {
                        if let Ok(data) = fs::read(format!("/proc/{pid}/{way}{path}")) { hush(&data); }
                    }
                }
            }"""),
    ),
    Case(
        "read-open-files",
        "read the files that other processes have open, by /proc/PID/fd",
        unseen("seat", "environment", "memory"),
        program("""
            for pid in pids() {
                if pid as u32 == std::process::id() { continue; }
                for link in names(format!("/proc/{pid}/fd")) {
                    if fs::metadata(&link).map_or(false, |found| found.is_file()) {
                        if let Ok(data) = fs::read(&link) { hush(&data); }
                    }
                }
            }"""),
    ),
    Case(
        "read-inherited",
        "use descriptors that the server left open",
        _only_its_own_descriptors,
        program("""
            for fd in 0..1024 {
                if let Ok(to) = fs::read_link(format!("/proc/self/fd/{fd}")) { println!("OPEN {fd} {to:?}"); }
            }"""),
    ),
    Case(
        "read-home",
        "read a file in the home of the server's user",
        unseen("home"),
        program('show("@HOME_FILE@");'),
    ),
    Case("read-shadow", "read /etc/shadow", _no_shadow, program('show("/etc/shadow"); show("/etc/shadow-");')),
    Case(
        "read-file",
        "read a world-readable file, by its path and through a symbolic link",
        unseen("file"),
        program("""
            show("@OUT@/secret");
            println!("{:?}", ufs::symlink("@OUT@/secret", "link"));
            show("link");
            println!("{:?}", ufs::symlink("/", "top"));
            show("top/@OUT@/secret");"""),
    ),
    Case(
        "read-names",
        "list /, /tmp, /var/tmp and the home folders to learn what else is on the machine",
        _no_names,
        program("""
            for top in ["/", "/tmp", "/var/tmp", "/root", "/home", "@FOLDER@"] {
                println!("LISTED {:?}", names(top));
            }"""),
    ),
    Case(
        "read-neighbour",
        "read another run's crate, through its own parent folders and in the server's folder of runs",
        unseen("neighbour"),
        program(_walk("@SCRATCH@", "@NEIGHBOUR@", "../..", "/playground")),
    ),
    Case(
        "read-neighbours-process",
        "read another run's environment, arguments, memory and folder by its process id",
        unseen("neighbour"),
        program("""
            for pid in [@NEIGHBOUR_PID@].into_iter().chain(pids()) {
                if pid as u32 == std::process::id() { continue; }
                for name in ["environ", "cmdline", "cwd/kept", "cwd/src/main.rs", "root/playground/blog_os/kept"] {
                    if let Ok(data) = fs::read(format!("/proc/{pid}/{name}")) { hush(&data); }
                }
            }"""),
    ),
    Case(
        "read-database",
        "read other seats' texts in the server's database",
        unseen("seat"),
        program(_walk("@DATA@")),
    ),
    Case(
        "read-key",
        "read the key that the server signs cookies with",
        _no_key,
        program("""
            all_files(Path::new("@DATA@"), 4, &mut |path| {
                if let Ok(data) = fs::read(path) {
                    println!("{path:?} {}", data.iter().take(64).map(|b| format!("{b:02x}")).collect::<String>());
                }
            });"""),
    ),
    Case(
        "include-str",
        "make the compiler read a file with include_str!",
        unseen("file"),
        'fn main() { println!("{}", include_str!("@OUT@/secret")); }',
        begun=False,
    ),
    Case(
        "include-neighbour",
        "make the compiler read another run's crate with include_bytes!",
        unseen("neighbour"),
        'fn main() { println!("{}", String::from_utf8_lossy(include_bytes!("@NEIGHBOUR@/kept"))); }',
        begun=False,
    ),
    Case(
        "path-module",
        "compile a file from elsewhere as a module with #[path]",
        unseen("module"),
        '#[path = "@OUT@/module.rs"] mod stolen;\nfn main() { println!("{}", stolen::HELD); }',
        begun=False,
    ),
    Case(
        "path-module-error",
        "make the compiler quote a file from elsewhere in an error",
        unseen("file"),
        '#[path = "@OUT@/words"] mod stolen;\nfn main() {}',
        begun=False,
    ),
    Case(
        "read-in-build-script",
        "read a file in a build script",
        unseen("file"),
        *build_script('show("@OUT@/secret");'),
        command="cargo build",
    ),
    Case(
        "read-in-proc-macro",
        "read a file in a procedural macro, inside the compiler",
        unseen("file", "home"),
        """
        #[cfg(proc_macro)] extern crate proc_macro;
        #[cfg(proc_macro)] #[proc_macro]
        pub fn steal(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
            let read = |path| std::fs::read_to_string(path).unwrap_or_default();
            format!("{:?}", format!("begun {} {}", read("@OUT@/secret"), read("@HOME_FILE@"))).parse().unwrap()
        }
        #[cfg(not(proc_macro))] fn main() { println!("{}", helper::steal!()); }
        """,
        MANIFEST
        + '[lib]\nname = "helper"\npath = "src/main.rs"\nproc-macro = true\n[[bin]]\nname = "blog_os"\n'
        + 'path = "src/main.rs"\n',
    ),
    Case(
        "read-raw-disk",
        "create a device node for the machine's disk and read it",
        _no_first_block,
        program("""
            let device = unsafe { mknod(c("disk").as_ptr(), 0o060666, (@MAJOR@ << 8) | @MINOR@) };
            let mut data = [0u8; 4096];
            for path in ["disk", "/dev/vda", "/dev/sda", "/dev/nvme0n1"] {
                let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut data));
                println!("{}{path} {read:?}", if read.is_ok() { "BLOCK " } else { "" });
            }"""),
    ),
    Case(
        "read-kernel",
        "read the kernel's log and memory",
        _nothing_got,
        program("""
            for path in ["/dev/kmsg", "/proc/kmsg", "/dev/mem", "/proc/kcore", "/dev/port"] {
                let mut data = [0u8; 512];
                let opened = fs::OpenOptions::new().read(true).custom_flags(0o4000).open(path);
                match opened.and_then(|mut file| file.read(&mut data)) {
                    Ok(n) if n > 0 => println!("GOT {path} {n}"),
                    other => println!("{path} {other:?}"),
                }
            }
            let mut data = [0u8; 4096];
            let n = unsafe { syscall(call([103, 116]), 3i64, data.as_mut_ptr(), 4096i64) };
            if n > 0 { println!("GOT syslog {n}"); }"""),
    ),
)
