"""Seats: only a cookie signed by this server gives one, and only the owner can read the key."""

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.guard.seats import SeatKeyError, Seats, SeveralSeatsError
from tests.support.clients import cookie_name, seat_of, seated
from tests.support.forked import run_forked
from tests.support.server import Server

MINE = Seats(b"k" * 32)
VICTIM = "ab" * 16
NAME = MINE.name("http", "")
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
    assert MINE.read([f"{NAME}={value}"], NAME) is None


@given(st.text(st.characters(max_codepoint=255), max_size=200))
def test_any_header_is_read_without_a_seat_in_it(header: str) -> None:
    assert MINE.read([header], NAME) is None
    assert MINE.read([header, f"{NAME}={MINE.sign(VICTIM)}"], NAME) == VICTIM


@pytest.mark.parametrize(
    "before", ['{"a": [1, 2]}', "x=1,2;y", f"{NAME}=forged", "=", '"', NAME, "ä=ö", f"{NAME}=; {NAME}=."]
)
def test_cookies_of_other_programs_do_not_hide_the_seat(before: str) -> None:
    assert MINE.read([f"{before}; {NAME}={MINE.sign(VICTIM)}; after=1"], NAME) == VICTIM


def test_the_name_tells_servers_paths_and_schemes_apart() -> None:
    names = {MINE.name(scheme, root) for scheme in ("http", "https") for root in ("", "/rust", "/course/rust")}
    assert len(names) == 6
    assert not names & {Seats(b"x" * 32).name(scheme, "") for scheme in ("http", "https")}
    assert MINE.name("https", "").startswith("__Host-seat-")
    assert MINE.name("https", "/rust").startswith("__Secure-seat-")
    assert MINE.name("http", "/rust").startswith("seat-")


def test_the_mark_of_a_seat_tells_it_from_others_and_does_not_reveal_it() -> None:
    marks = {MINE.mark(VICTIM), MINE.mark("cd" * 16), Seats(b"x" * 32).mark(VICTIM)}
    assert len(marks) == 3
    assert not [mark for mark in marks if mark in MINE.sign(VICTIM) or mark in NAME]


@pytest.mark.parametrize("separate", [False, True], ids=["one header", "two headers"])
@pytest.mark.parametrize("first", [True, False], ids=["tossed first", "tossed last"])
def test_two_seat_cookies_are_both_ignored(first: bool, separate: bool) -> None:
    pairs = [f"{NAME}={MINE.sign('cd' * 16)}", f"{NAME}={MINE.sign(VICTIM)}"]
    pairs = pairs if first else pairs[::-1]
    with pytest.raises(SeveralSeatsError):
        MINE.read(pairs if separate else ["; ".join(pairs)], NAME)
    assert MINE.read([f"{pairs[0]}; {pairs[0]}"], NAME), "the same one twice, as for two paths"


def test_the_old_name_is_read_for_90_days(monkeypatch: pytest.MonkeyPatch) -> None:
    old = f"seat={MINE.sign(VICTIM)}"
    now = datetime(2027, 2, 26, 23, 59, tzinfo=UTC)
    monkeypatch.setattr("app.web.guard.seats.datetime", Mock(now=lambda _zone: now))
    assert MINE.read_old([old]) == VICTIM
    assert MINE.read([old], NAME) is None
    assert MINE.read_old([f"{old}; seat={MINE.sign('cd' * 16)}"]) is None
    assert MINE.read_old(["seat=forged"]) is None
    now += timedelta(minutes=1)
    assert MINE.read_old([old]) is None


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
    with pytest.raises(
        SeatKeyError, match=r"belongs to .*, but the server runs as .* Run as root: chown \d+:\d+ "
    ) as told:
        Seats.kept_in(tmp_path)
    assert "chmod" not in str(told.value)
    assert "delete" not in str(told.value), "the key is whole, so no seat need be lost"


def test_a_damaged_key_is_told_with_the_newest_backup(tmp_path: Path) -> None:
    (tmp_path / "seat.key").write_bytes(b"abc")
    (tmp_path / "last-backup.json").write_text('{"at": "2026-11-30T12:00:00+00:00", "file": null}')
    with pytest.raises(
        SeatKeyError, match=r"its size in bytes is 3, not 32\. The newest backup is of 2026-11-30 12:00 UTC"
    ):
        Seats.kept_in(tmp_path)


def test_a_server_says_in_one_sentence_why_it_does_not_take_the_key(tmp_path: Path) -> None:
    Seats.kept_in(tmp_path)
    (tmp_path / "seat.key").chmod(0o644)
    env = os.environ | {"PLAYGROUND_DATA_DIR": str(tmp_path), "PLAYGROUND_SCRATCH_DIR": str(tmp_path / "scratch")}
    done = run_forked("serve", "--port", "0", env=env)
    assert done.returncode == 2
    assert "run: chmod 600" in done.stderr
    assert "must be writable" not in done.stderr
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
        seat, name = seat_of(victim.cookies), cookie_name(victim.cookies)
        for value in (seat, f"{seat}.{'0' * 64}", victim.cookies[name][:-1], Seats(b"x" * 32).sign(seat)):
            with httpx.Client(base_url=server, headers={"cookie": f"{name}={value}"}, timeout=30) as thief:
                page = thief.get("/lessons/hello-std")
                assert "the victim" not in page.text
                assert seat_of(page.cookies) != seat
                assert thief.get(f"/api/runs/{mine}").status_code == 404
                theirs = thief.post("/api/runs", json=body | {"files": {"src/main.rs": "// the thief's text"}})
                assert theirs.status_code == 202
                assert thief.get(f"/api/runs/{theirs.json()['id']}").status_code == 200, "posted as without a cookie"
                assert thief.post("/lessons/hello-std/reset").status_code == 303
        assert "the victim" in victim.get("/lessons/hello-std").text


def _asked(url: str, cookie: str, **headers: str) -> httpx.Response:
    return httpx.get(f"{url}/lessons/hello-std", headers={"cookie": cookie, **headers})


def test_a_seat_that_was_tossed_in_never_wins(server: str) -> None:
    body = {"lesson": "hello-std", "command": "rustc --version", "files": {"src/main.rs": "// the victim's text"}}
    with seated(server) as victim, seated(server) as attacker:
        for client in (victim, attacker):
            assert client.post("/api/runs", json=body).status_code == 202
            body["files"] = {"src/main.rs": "// the attacker's text"}
        name = cookie_name(victim.cookies)
        own, tossed = f"{name}={victim.cookies[name]}", f"{name}={attacker.cookies[name]}"
        for both in (f"{own}; {tossed}", f"{tossed}; {own}"):
            page = _asked(server, both)
            assert page.status_code == 400
            assert name in page.text
            assert "'s text" not in page.text
            assert "set-cookie" not in page.headers, "the learner's own seat is not thrown away"
            assert httpx.get(f"{server}/api/lessons", headers={"cookie": both}).json()["error"]["code"] == "two-seats"
            assert httpx.post(f"{server}/api/runs", json=body, headers={"cookie": both}).status_code == 400
            assert httpx.get(f"{server}/static/css/site.css", headers={"cookie": both}).status_code == 200
        old = f"seat={attacker.cookies[name]}"
        for both in (f"{own}; {old}", f"{old}; {own}"):
            assert "the victim" in _asked(server, both).text
        # Over TLS the server ignores cookies set by another host or by a page without TLS.
        assert "the attacker" not in _asked(server, tossed, **{"x-forwarded-proto": "https"}).text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/static/css/site.css", "/api/lessons", "/static/nothing"])
def test_only_pages_replace_a_seat(server: str, path: str) -> None:
    with seated(server) as client:
        for cookies in (dict(client.cookies), {}, {"seat": client.cookies[cookie_name(client.cookies)]}):
            assert "set-cookie" not in httpx.get(server + path, cookies=cookies).headers


def test_an_old_cookie_moves_to_the_new_name(server: str) -> None:
    with seated(server) as client:
        name, value = cookie_name(client.cookies), client.cookies[cookie_name(client.cookies)]
        body = {"lesson": "hello-std", "command": "rustc --version", "files": {"src/main.rs": "// my text"}}
        client.post("/api/runs", json=body)
    page = _asked(server, f"seat={value}")
    assert "// my text" in page.text
    new, old = page.headers.get_list("set-cookie")
    assert new.startswith(f"{name}={value}; ")
    assert old.startswith("seat=; Max-Age=0; Path=/;")
    tls = _asked(server, f"seat={value}", **{"x-forwarded-proto": "https"}).headers.get_list("set-cookie")[0]
    assert tls.startswith(f"__Host-{name}={value}; ")
    assert "Secure" in tls
    assert "set-cookie" not in _asked(server, f"{name}={value}").headers


def test_a_seat_that_is_forgotten_comes_back_under_no_name(server: str) -> None:
    with seated(server) as client:
        name, value = cookie_name(client.cookies), client.cookies[cookie_name(client.cookies)]
    for proto, prefix in (("http", ""), ("https", "__Host-")):
        headers = {"cookie": f"seat={value}", "x-forwarded-proto": proto}
        gone = httpx.post(f"{server}/forget", headers=headers).headers.get_list("set-cookie")
        assert [one.partition("=")[0] for one in gone] == [prefix + name, "seat"]
        assert all("Max-Age=0" in one and ("Secure" in one) == (proto == "https") for one in gone)
