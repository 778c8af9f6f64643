"""Backup and restore: all or nothing, whoever calls it, and never under a running server."""

import io
import os
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli import cli
from app.progress import Progress, UnusableDatabaseError, describe_database
from app.progress.archive import ArchiveError, back_up, restore
from app.progress.database import checked_version
from app.progress.folder import newest_backup
from app.progress.schema import TABLES
from app.progress.seats import lost_half, opened
from app.web.guard.seats import Seats
from tests.support.server import a_normal_user

DUMPS = Path(__file__).parent / "databases"
PLAYGROUND = str(Path(sys.executable).with_name("playground"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with one seat, ``ada``, that has reached a step."""
    return filled(tmp_path / "data", "ada")


def filled(folder: Path, *seats: str) -> Path:
    folder.mkdir()
    with closing(Progress(folder / "progress.sqlite3")):
        Seats.kept_in(folder)
    with closing(sqlite3.connect(folder / "progress.sqlite3", isolation_level=None)) as db:
        for seat in seats:
            db.execute("insert into reached values (?, 'hello-std', '2026-01-01T00:00:00+00:00', '1.96')", (seat,))
    return folder


def seats(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "progress.sqlite3")) as db:
        return [seat for (seat,) in db.execute("select seat from reached order by seat")]


def key(folder: Path) -> bytes:
    return (folder / "seat.key").read_bytes()


def state(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def archive_of(folder: Path) -> bytes:
    out = io.BytesIO()
    back_up(folder, None, out)
    return out.getvalue()


def stream(content: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(content))


def tar_of(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(mode="w", fileobj=out) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("_", "."))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def command(folder: Path, *words: str) -> Result:
    """Run ``playground`` in this process, which takes a fraction of the time of a new one."""
    return CliRunner().invoke(cli, words, env={"PLAYGROUND_DATA_DIR": str(folder)})


def test_a_backup_of_a_folder_in_use_is_restored_elsewhere_and_what_it_replaces_is_kept(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "class.key").write_bytes(b"an instructor's key")
    other = filled(tmp_path / "other", "bob")
    before = seats(other), key(other)
    database = folder / "progress.sqlite3"
    with closing(Progress(database)), closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("insert into reached values ('eve', 'hello-std', '2026-01-01T00:00:00+00:00', '1.96')")
        db.execute("insert into class values ('name', 'Rust in November')")
        assert (folder / "progress.sqlite3-wal").stat().st_size
        done = command(folder, "backup", str(tmp_path / "playground.tar"))
    assert done.exit_code == 0, done.output
    assert "2 seats, database version" in done.stderr
    done = command(other, "restore", str(tmp_path / "playground.tar"))
    assert done.exit_code == 0, done.output
    assert seats(other) == ["ada", "eve"]
    with closing(sqlite3.connect(other / "progress.sqlite3")) as db:
        assert db.execute("select * from class").fetchall() == [("name", "Rust in November")]
    assert key(other) == key(folder)
    assert (other / "class.key").read_bytes() == b"an instructor's key"
    [kept] = other.glob("before-restore-*")
    assert str(kept) in done.stdout
    assert (seats(kept), key(kept)) == before
    assert (tmp_path / "playground.tar").stat().st_mode & 0o777 == 0o600
    assert {path.stat().st_mode & 0o777 for path in other.iterdir() if path.is_file()} == {0o600}
    assert not list(tmp_path.glob(".playground*"))


def test_an_archive_goes_through_standard_output_and_input(folder: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    line = f"{PLAYGROUND} backup - | PLAYGROUND_DATA_DIR={new} {PLAYGROUND} restore -"
    environment = os.environ | {"PLAYGROUND_DATA_DIR": str(folder)}
    done = subprocess.run(line, shell=True, env=environment, capture_output=True, text=True, check=True)
    assert seats(new) == ["ada"]
    assert done.stdout.startswith("Restored progress.sqlite3 and seat.key in ")
    assert "before" not in done.stdout


def test_a_copy_of_a_database_alone_is_restored_with_the_folders_own_key(folder: Path) -> None:
    own = key(folder)
    with closing(sqlite3.connect(folder / "progress.sqlite3.version-1")) as db:
        db.executescript((DUMPS / "version-1.sql").read_text())
    with (folder / "progress.sqlite3.version-1").open("rb") as copy:
        assert restore(folder, copy).contents.version == 1
    assert key(folder) == own
    Progress(folder / "progress.sqlite3").close()
    assert seats(folder) == ["ada"]


def test_a_restore_is_refused_while_a_playground_uses_the_folder(folder: Path) -> None:
    archive = archive_of(folder)
    with closing(Progress(folder / "progress.sqlite3")), closing(Progress(folder / "progress.sqlite3")):
        before = state(folder)
        with pytest.raises(ArchiveError, match=r"is using .* Stop it, then restore. Nothing was changed"):
            restore(folder, stream(archive))
        assert state(folder) == before
    restore(folder, stream(archive))


def test_a_backup_has_a_database_and_its_own_key_even_if_a_restore_begins_meanwhile(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = archive_of(filled(tmp_path / "other", "bob"))
    own = key(folder)

    def slow(db: sqlite3.Connection, path: Path) -> int:
        """The restore begins once the database was copied."""
        monkeypatch.undo()
        with suppress(ArchiveError):
            restore(folder, stream(other))
        return checked_version(db, path)

    monkeypatch.setattr("app.progress.archive.checked_version", slow)
    restore(tmp_path / "new", stream(archive_of(folder)))
    assert (seats(tmp_path / "new"), key(tmp_path / "new")) == (["ada"], own)


def test_a_restore_is_refused_while_a_command_works_on_the_seats(folder: Path) -> None:
    archive = archive_of(folder)
    with opened(folder / "progress.sqlite3"), pytest.raises(ArchiveError, match="is using"):
        restore(folder, stream(archive))
    restore(folder, stream(archive))


def test_a_backup_removes_what_killed_ones_have_left(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, fresh = (tmp_path / f".playground-backup-{name}" for name in ("killed", "fresh"))
    for left in (killed, fresh):
        left.mkdir()
        (left / "progress.sqlite3").touch()
    os.utime(killed, (0, 0))

    def slow(db: sqlite3.Connection, path: Path) -> int:
        """Another backup begins long after this one."""
        monkeypatch.undo()
        os.utime(path.parent, (0, 0))
        back_up(folder, tmp_path / "second.tar", io.BytesIO())
        return checked_version(db, path)

    monkeypatch.setattr("app.progress.archive.checked_version", slow)
    back_up(folder, tmp_path / "first.tar", io.BytesIO())
    assert list(tmp_path.glob(".playground-backup-*")) == [fresh]
    assert (tmp_path / "first.tar").stat().st_size == (tmp_path / "second.tar").stat().st_size


def test_output_that_does_not_wait_is_not_taken_for_a_restore(folder: Path) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise BlockingIOError

    with pytest.raises(BlockingIOError):
        back_up(folder, None, Full())


def test_after_a_partial_restore_nothing_is_backed_up_or_changed(folder: Path) -> None:
    (folder / "restoring").touch()
    before = state(folder)
    interrupted = "was interrupted. Run `playground restore FILE` again"
    with pytest.raises(ArchiveError, match=f"No backup was written.*{interrupted}"):
        archive_of(folder)
    with pytest.raises(UnusableDatabaseError, match=interrupted), opened(folder / "progress.sqlite3"):
        pass
    assert interrupted in describe_database(folder / "progress.sqlite3")
    assert lost_half(folder) is None
    assert state(folder) == before


def newer(folder: Path) -> bytes:
    with closing(sqlite3.connect(folder / "progress.sqlite3", isolation_level=None)) as db:
        db.execute("pragma user_version = 99")
        return db.serialize()


def holed(folder: Path) -> bytes:
    """Return a database whose header and schema are whole, and a table is not."""
    with closing(sqlite3.connect(folder / "progress.sqlite3", isolation_level=None)) as db:
        rows = [(f"seat {number}", "x" * 2000) for number in range(50)]
        db.executemany("insert into files values (?, 'no-std', 'src/main.rs', ?)", rows)
        content = bytearray(db.serialize())
    content[-20_000:] = os.urandom(20_000)
    return bytes(content)


def short(folder: Path) -> bytes:
    return tar_of(seat_key=key(folder)[:3], progress_sqlite3=b"x")


DAMAGES: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "half": (lambda folder: (whole := archive_of(folder))[: len(whole) // 2], "not an archive|lacks"),
    "text": (lambda _: b"no archive at all", "not an archive"),
    "empty": (lambda _: b"", "not an archive|lacks"),
    "no database": (lambda folder: tar_of(seat_key=key(folder)), "lacks progress.sqlite3"),
    "a short key": (short, "seat.key in the archive has 3 bytes"),
    "noise": (
        lambda folder: tar_of(seat_key=key(folder), progress_sqlite3=os.urandom(9000)),
        "cannot be used: .*not a",
    ),
    "newer": (lambda folder: tar_of(seat_key=key(folder), progress_sqlite3=newer(folder)), "has version 99"),
    "holes": (lambda folder: tar_of(seat_key=key(folder), progress_sqlite3=holed(folder)), "cannot be used"),
    "a copy with holes": (holed, "cannot be used"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES)
def test_an_archive_that_cannot_be_used_changes_nothing(
    folder: Path, tmp_path: Path, damage: Callable[[Path], bytes], words: str
) -> None:
    content = damage(filled(tmp_path / "source", "eve"))
    before = state(folder)
    with pytest.raises(ArchiveError, match=words) as refused:
        restore(folder, stream(content))
    assert str(refused.value).endswith("Nothing was changed.")
    assert state(folder) == before


def test_a_restore_killed_at_any_moment_leaves_the_old_data_the_new_data_or_a_refusal(
    folder: Path, tmp_path: Path
) -> None:
    """Never the database with another's key, and never a folder that looks new. It dies at every change to a file."""
    archive = tmp_path / "playground.tar"
    back_up(filled(tmp_path / "other", "bob"), archive, io.BytesIO())
    old, new = (["ada"], key(folder)), (["bob"], key(tmp_path / "other"))
    script = f"""
import itertools, os, shutil, signal, sys
from pathlib import Path
from app.progress.archive import restore

def die(left, folder):
    left = itertools.count(left, -1)
    changes = "os.rename os.link os.remove os.rmdir os.mkdir os.chmod open shutil.rmtree".split()
    sys.addaudithook(lambda event, _: event in changes and not next(left) and os.kill(os.getpid(), signal.SIGKILL))
    with open({str(archive)!r}, "rb") as file:
        restore(folder, file)

for number in itertools.count(1):
    folder = Path({str(tmp_path)!r}, f"killed-{{number}}")
    shutil.copytree({str(folder)!r}, folder)
    child = os.fork()
    if not child:
        die(number, folder)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""
    subprocess.run([sys.executable, "-c", script], cwd=DUMPS.parents[1], check=True)
    seen = {outcome(killed, old, new, archive) for killed in tmp_path.glob("killed-*")}
    assert seen == {"old", "new", "refused"}
    assert len(list(tmp_path.glob("killed-*"))) > 15


def outcome(killed: Path, old: object, new: object, archive: Path) -> str:
    try:
        Progress(killed / "progress.sqlite3").close()
    except UnusableDatabaseError as error:
        if "Run `playground restore FILE` again" not in str(error):
            raise
        with pytest.raises(ArchiveError):
            restore(killed, stream(b"no archive"))
        with pytest.raises(UnusableDatabaseError):
            Progress(killed / "progress.sqlite3")
        with archive.open("rb") as file:
            restore(killed, file)
        return "refused" if (seats(killed), key(killed)) == new else "lost"
    return {repr(old): "old", repr(new): "new"}[repr((seats(killed), key(killed)))]


def test_what_root_restores_belongs_to_the_folders_owner(open_folder: Path) -> None:
    user = a_normal_user()
    folder = filled(open_folder / "data", "ada")
    archive = archive_of(folder)
    for path in (folder, *folder.iterdir()):
        os.chown(path, user, user)
    restore(folder, stream(archive))
    assert {path.stat().st_uid for path in folder.rglob("*")} == {user}


def test_a_backup_of_a_damaged_folder_is_not_written(folder: Path, tmp_path: Path) -> None:
    first = tmp_path / "first.tar"
    back_up(folder, first, io.BytesIO())
    good = first.read_bytes()
    whole = (folder / "progress.sqlite3").read_bytes()
    for name, content in (
        ("progress.sqlite3", os.urandom(9000)),
        ("progress.sqlite3", holed(folder)),
        ("seat.key", b"x"),
    ):
        (folder / name).write_bytes(content)
        with pytest.raises(ArchiveError, match=rf"damaged.* The newest backup is {first}"):
            back_up(folder, first, io.BytesIO())
        assert first.read_bytes() == good
        (folder / "progress.sqlite3").write_bytes(whole)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["first.tar"]


def test_a_file_that_cannot_be_written_or_read_is_named(folder: Path, tmp_path: Path) -> None:
    failed = "That failed, and nothing was changed:"
    for word, file, why in (
        ("backup", "nowhere/a.tar", f"{failed} {tmp_path}/nowhere: No such file or directory.\n"),
        ("restore", "a.tar", f"{failed} {tmp_path}/a.tar: No such file or directory.\n"),
        ("restore", "data", f"{failed} {tmp_path}/data: Is a directory.\n"),
    ):
        done = command(folder, word, str(tmp_path / file))
        assert (done.exit_code, done.stderr) == (1, why)


def test_a_folder_that_has_lost_its_database_or_its_key_is_named(folder: Path, tmp_path: Path) -> None:
    assert lost_half(folder) is None
    assert lost_half(tmp_path / "fresh") is None
    back_up(folder, tmp_path / "a.tar", io.BytesIO())
    (folder / "seat.key").rename(tmp_path / "seat.key")
    sentence = lost_half(folder)
    assert sentence
    assert "a start makes a new key" in sentence
    assert f"restore it with `playground restore {tmp_path}/a.tar`" in sentence
    with closing(sqlite3.connect(folder / "progress.sqlite3", isolation_level=None)) as db:
        for table in TABLES:
            db.execute(f"delete from {table}")
    assert lost_half(folder) is None, "a class that was prepared before the first start"
    (tmp_path / "seat.key").rename(folder / "seat.key")
    (folder / "progress.sqlite3").unlink()
    assert "a start begins a new database" in (lost_half(folder) or "")


def test_the_newest_backup_is_named(folder: Path, tmp_path: Path) -> None:
    assert newest_backup(folder).startswith("No backup of it is known")
    (folder / "progress.sqlite3.version-1").touch()
    assert f"restore it with `playground restore {folder}/progress.sqlite3.version-1`" in newest_backup(folder)
    archive_of(folder)
    assert "went to standard output" in newest_backup(folder)
    back_up(folder, tmp_path / "a.tar", io.BytesIO())
    assert f"The newest backup is {tmp_path}/a.tar of " in newest_backup(folder)
    (tmp_path / "a.tar").unlink()
    assert "cannot find" in newest_backup(folder)
    (folder / "last-backup.json").write_text("{")
    assert "No backup is known" in newest_backup(folder)
