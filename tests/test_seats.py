"""Seats: only a cookie that this server signed is one, and the key is nobody else's."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.guard.seats import SeatKeyError, Seats
from tests.conftest import Server, seat_of, seated

MINE = Seats(b"k" * 32)
VICTIM = "ab" * 16
FORGERIES = {
    "unsigned": VICTIM,
    "an empty signature": f"{VICTIM}.",
    "a signature of zeros": f"{VICTIM}.{'0' * 64}",
    "another server's": Seats(b"x" * 32).sign(VICTIM),
    "quoted": f'"{MINE.sign(VICTIM)}"',
    "truncated": MINE.sign(VICTIM)[:-1],
    "in capitals": MINE.sign(VICTIM).upper(),
    "another seat with this signature": f"{'cd' * 16}.{MINE.sign(VICTIM).partition('.')[2]}",
    "more behind": f"{MINE.sign(VICTIM)}.x",
    "not ASCII": f"{VICTIM}.\xff",
}


@pytest.mark.parametrize("value", FORGERIES.values(), ids=FORGERIES)
def test_a_forgery_is_no_seat(value: str) -> None:
    assert MINE.read([f"seat={value}"]) is None


@given(st.text(st.characters(max_codepoint=255), max_size=200))
def test_any_header_is_read_without_a_seat_in_it(header: str) -> None:
    assert MINE.read([header]) is None
    assert MINE.read([header, f"seat={MINE.sign(VICTIM)}"]) == VICTIM


@pytest.mark.parametrize(
    "before", ['{"a": [1, 2]}', "x=1,2;y", "seat=forged", "=", '"', "seat", "ä=ö", "seat=; seat=."]
)
def test_cookies_of_other_programs_do_not_hide_ours(before: str) -> None:
    assert MINE.read([f"{before}; seat={MINE.sign(VICTIM)}; after=1"]) == VICTIM


def test_the_key_is_made_once_and_is_the_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _: Seats.kept_in(tmp_path).sign(VICTIM), range(64)))
    finally:
        os.umask(before)
    assert len({*made, Seats.kept_in(tmp_path).sign(VICTIM)}) == 1
    [key] = tmp_path.iterdir()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.stat().st_size == 32


def _replace(key: Path, how: str) -> None:
    content = key.read_bytes()
    if how == "readable":
        key.chmod(0o640)
    else:
        key.unlink()
    if how == "a link":
        key.with_name("elsewhere").write_bytes(content)
        key.with_name("elsewhere").chmod(0o600)
        key.symlink_to(key.with_name("elsewhere"))
    elif how == "a dangling link":
        key.symlink_to(key.with_name("nothing"))
    elif how == "a pipe":
        os.mkfifo(key, 0o600)
    elif how in ("short", "long", "empty"):
        key.write_bytes({"short": content[:31], "long": content + b"x", "empty": b""}[how])
        key.chmod(0o600)


@pytest.mark.parametrize("how", ["readable", "a link", "a dangling link", "a pipe", "short", "long", "empty"])
def test_a_key_that_others_may_know_or_have_put_there_is_refused(tmp_path: Path, how: str) -> None:
    Seats.kept_in(tmp_path)
    _replace(tmp_path / "seat.key", how)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match=r"seat\.key"):
        Seats.kept_in(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_a_key_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Seats.kept_in(tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(SeatKeyError, match="others can read"):
        Seats.kept_in(tmp_path)


def test_a_server_says_in_one_sentence_why_it_does_not_take_the_key(tmp_path: Path) -> None:
    Seats.kept_in(tmp_path)
    (tmp_path / "seat.key").chmod(0o644)
    env = os.environ | {"PLAYGROUND_DATA_DIR": str(tmp_path), "PLAYGROUND_SCRATCH_DIR": str(tmp_path / "scratch")}
    command = [str(Path(sys.executable).with_name("playground")), "serve", "--port", "0"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2
    assert "chmod 600" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_seat_outlives_the_server_and_ends_with_its_key(start_server: Callable[..., Server], tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = start_server(data_dir=data)
    with seated(first.url) as client:
        cookies = client.cookies
    first.stop()
    second = start_server(data_dir=data)
    assert "set-cookie" not in httpx.get(f"{second.url}/", cookies=cookies).headers
    second.stop()
    (data / "seat.key").unlink()
    third = start_server(data_dir=data)
    answer = httpx.get(f"{third.url}/", cookies=cookies)
    assert seat_of(answer.cookies) != seat_of(cookies)


def test_a_forged_cookie_opens_no_seat(server: str) -> None:
    body = {"lesson": "hello-std", "command": "rustc --version", "files": {"src/main.rs": "// the victim's text"}}
    with seated(server) as victim:
        mine = victim.post("/api/runs", json=body).json()["id"]
        seat = seat_of(victim.cookies)
        for value in (seat, f"{seat}.{'0' * 64}", victim.cookies["seat"][:-1], Seats(b"x" * 32).sign(seat)):
            with httpx.Client(base_url=server, headers={"cookie": f"seat={value}"}, timeout=30) as thief:
                page = thief.get("/lessons/hello-std")
                assert "the victim" not in page.text
                assert seat_of(page.cookies) != seat
                assert thief.get(f"/api/runs/{mine}").status_code == 404
                theirs = thief.post("/api/runs", json=body | {"files": {"src/main.rs": "// the thief's text"}})
                assert theirs.status_code == 202
                assert thief.get(f"/api/runs/{theirs.json()['id']}").status_code == 200, "posted as without a cookie"
                assert thief.post("/lessons/hello-std/reset").status_code == 303
        assert "the victim" in victim.get("/lessons/hello-std").text
