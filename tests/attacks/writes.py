"""Attacks that change files outside the run."""
# ruff: noqa: E501  (programs in another language stand in these lines)

import os
from collections.abc import Callable
from pathlib import Path

from tests.attacks.case import Case, Check, Story, both, program
from tests.attacks.world import World


def nothing_planted(*places: str) -> Check:
    """Check that the case left no file in these folders, and remove any that it did leave."""

    def held(world: World, story: Story) -> None:
        mark = story.text.partition("my mark is ")[2].partition("\n")[0]
        assert mark
        found = [Path(world.filled(place)) / mark for place in places]
        # Path.exists raises for a folder that the tests' user may not enter.
        found = [path for path in found if os.path.exists(path)]
        for path in found:
            path.rmdir() if path.is_dir() else path.unlink()
        assert not found

    return held


def unchanged(world: World, _story: Story) -> None:
    """Check that the file outside is unchanged."""
    assert (world.outside / "kept").read_text() == "as it was"


def _planting(*places: str, more: str = "") -> str:
    each = "".join(f'plant("{place}/@MARK@");' for place in places)
    return program(f'println!("my mark is @MARK@");{each}{more}')


def _case(id_: str, tries: str, *places: str, more: str = "") -> Case:
    return Case(id_, tries, nothing_planted(*places), _planting(*places, more=more))


def _neighbour_unchanged(world: World, _story: Story) -> None:
    kept = Path(world.names["NEIGHBOUR"]) / "kept"
    if kept.parent.exists():
        assert kept.read_text() == world.secrets["neighbour"]
        assert not list(kept.parent.glob("mark-*"))
    assert world.neighbour()


def _database_whole(world: World, _story: Story) -> None:
    with world.client() as client:
        client.cookies.update(world.cookies)
        assert world.secrets["seat"] in client.get("/lessons/hello-std").text
    assert not list(world.data.glob("mark-*"))


def _same_mode(world: World, _story: Story) -> None:
    status = (world.outside / "kept").stat()
    assert status.st_mode & 0o777 == 0o666
    assert status.st_mtime > 1e9


def _same_setting(path: str) -> Callable[[World, Story], None]:
    def held(world: World, _story: Story) -> None:
        file = Path(path)
        if world.token in (now := file.read_text()):
            file.write_text("(none)")
        assert world.token not in now

    return held


def _no_entry(name: str) -> Check:
    def held(world: World, _story: Story) -> None:
        assert not (world.outside / name).exists()

    return held


def _home_mode(world: World, _story: Story) -> None:
    mode = world.home_file.stat().st_mode & 0o777
    world.home_file.chmod(0o644)
    assert mode == 0o644


_GROUPS = [
    f"/sys/fs/cgroup{part}" for part in ("", "/memory", "/cpu", "/pids", "/unified", "/systemd", "/freezer", "/devices")
]

CASES = (
    _case(
        "write-toolchain",
        "add a file to the toolchain, to affect every later build",
        "@SYSROOT@/lib/rustlib",
        "@SYSROOT@/bin",
        "/usr/lib",
        "/usr/local/bin",
    ),
    _case("write-cache", "add a file to the sysroots that were built here", "@CACHE@", "@CACHE@/sysroots"),
    _case("write-runs", "add a file to the server's folders of runs and artifacts", "@SCRATCH@", "@DATA@"),
    _case("write-lessons", "change the lessons or the program itself", "@LESSONS@", "@PROGRAM@", "@PROGRAM@/sandbox"),
    _case("write-tmp", "leave a file in /tmp or /var/tmp, where the next run could find it", "/tmp", "/var/tmp"),
    _case("write-shm", "leave a file in /dev/shm or /dev, where the next run could find it", "/dev/shm", "/dev"),
    _case("write-etc", "add a file to /etc or /", "/etc", "", "/etc/ld.so.conf.d", "/run", "/opt", "/home", "/root"),
    Case(
        "write-cgroup",
        "create its own control group, to leave the one that limits it",
        nothing_planted(*_GROUPS),
        program(
            'println!("my mark is @MARK@");'
            + "".join(
                f'println!("{{:?}}", fs::create_dir("{top}/@MARK@"));'
                f'println!("{{:?}}", fs::write("{top}/@MARK@/cgroup.procs", "0"));'
                for top in _GROUPS
            )
            + 'println!("{:?}", Command::new("/bin/true").status());'
            + "".join(f'let _ = fs::write("{top}/cgroup.procs", "0");' for top in _GROUPS)
        ),
    ),
    Case(
        "write-neighbour",
        "change another run's crate",
        _neighbour_unchanged,
        program("""
            plant("@NEIGHBOUR@/@MARK@");
            println!("{:?}", fs::write("@NEIGHBOUR@/kept", "changed"));
            all_files(Path::new("@SCRATCH@"), 6, &mut |path| if path.ends_with("kept") { println!("{:?}", fs::write(path, "x")); });
            for pid in [@NEIGHBOUR_PID@].into_iter().chain(pids()) {
                if pid as u32 == std::process::id() || fs::read_link(format!("/proc/{pid}/cwd")).map_or(true, |its| its == std::env::current_dir().unwrap()) { continue; }
                if let Ok(mut file) = fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/cwd/kept")) { file.write(b"changed"); }
            }"""),
    ),
    Case(
        "write-database",
        "overwrite or remove the server's database",
        _database_whole,
        program("""
            plant("@DATA@/@MARK@");
            let there = "@DATA@/progress.sqlite3";
            println!("{:?}", fs::OpenOptions::new().write(true).open(there).and_then(|file| file.write_at(b"x", 9_000_000)));
            println!("{:?}", fs::rename(there, "@DATA@/mark-moved"));"""),
        safe=True,
    ),
    Case(
        "write-file",
        "overwrite, append to, truncate, rename and remove a world-writable file",
        unchanged,
        program("""
            let kept = "@OUT@/kept";
            println!("{:?}", fs::OpenOptions::new().append(true).open(kept).and_then(|mut file| file.write(b"more")));
            println!("{:?}", unsafe { syscall(call([76, 45]), c(kept).as_ptr(), 0i64) });
            println!("{:?}", fs::rename(kept, "@OUT@/renamed"));
            println!("{:?}", fs::remove_file(kept));
            for pid in pids() { let _ = fs::write(format!("/proc/{pid}/root{kept}"), "changed"); }"""),
    ),
    Case(
        "write-mode",
        "change the permissions and times of a file outside",
        _same_mode,
        program("""
            let kept = "@OUT@/kept";
            println!("{:?}", fs::set_permissions(kept, fs::Permissions::from_mode(0o600)));
            let times = [[0i64, 0], [0, 0]];
            println!("{:?}", unsafe { syscall(call([280, 88]), -100i64, c(kept).as_ptr(), times.as_ptr(), 0i64) });"""),
        attributes=True,
    ),
    Case(
        "write-own-mode",
        "change the permissions of a file of the server's own user",
        _home_mode,
        program('println!("{:?}", fs::set_permissions("@HOME_FILE@", fs::Permissions::from_mode(0o600)));'),
        attributes=True,
    ),
    Case(
        "write-by-rename",
        "move and link one of its files into a world-writable folder",
        both(_no_entry("link/moved"), _no_entry("link/hard"), _no_entry("link/soft")),
        program("""
            fs::write("mine", "x").unwrap();
            println!("{:?}", fs::hard_link("mine", "@OUT@/link/hard"));
            println!("{:?}", ufs::symlink("/etc/passwd", "@OUT@/link/soft"));
            println!("{:?}", fs::rename("mine", "@OUT@/link/moved"));"""),
    ),
    Case(
        "write-by-hard-link",
        "write to a file outside through a hard link in its own crate",
        unchanged,
        program("""
            println!("{:?}", fs::hard_link("@OUT@/kept", "mine"));
            println!("{:?}", fs::write("mine", "changed"));
            println!("{:?}", fs::hard_link("mine", "@OUT@/link/never"));"""),
    ),
    Case(
        "write-kernel-setting",
        "change a setting of the kernel by /proc/sys",
        _same_setting("/proc/sys/kernel/domainname"),
        program("""
            for top in ["/proc/sys", "/proc/1/root/proc/sys"] {
                println!("{:?}", fs::write(format!("{top}/kernel/domainname"), "@TOKEN@"));
            }
            println!("{:?}", unsafe { syscall(call([171, 162]), c("@TOKEN@").as_ptr(), 12i64) });"""),
    ),
)
