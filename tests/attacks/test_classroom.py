"""Learners and strangers who want to be the instructor, or somebody else, in a class."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.attacks.case import attack
from tests.support.classroom import ClassServer, holding, playground
from tests.support.clients import cookie_name, seat_of, seated
from tests.support.environment import SLOWER_BY

REMOTE = {"x-forwarded-for": "192.0.2.7"}
PATHS = (
    *("/class", "/class/events", "/class/wall", "/class/wall/events", "/class/step/hello-std", "/class/members/1"),
    *(
        "/class/step/hello-std/events",
        "/class/members/2",
        "/class/runs/1",
        "/class/members/99",
        "/class/runs/-1",
        "/class/members/%2e%2e",
    ),
)
POSTS = (
    *("/class/pace", "/class/wall", "/class/sweep", "/class/members/1/send", "/class/members/1/seat"),
    *("/class/members/1/hand", "/class/members/1/remove", "/class/runs/1/close"),
)
OWN_POSTS = (
    *("/class/join", "/class/hand", "/class/words/1", "/class/shown", "/class/seat", "/class/another", "/class/leave"),
    *("/class/enter", "/class/exit", "/seat/x"),
)
SECRET = "hush-of-the-victim"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attacked") / "data"


@pytest.fixture(scope="module")
def held(data: Path) -> Iterator[ClassServer]:
    with holding(data, "--code") as found:
        yield found


@pytest.fixture(scope="module")
def code(held: ClassServer) -> str:
    return held.printed.partition("Code:")[2].split()[0]


@pytest.fixture
def victim(held: ClassServer, code: str) -> Iterator[httpx.Client]:
    """A member who shows a run, has a raised hand, and to whom the instructor wrote."""
    with seated(held.url) as client, httpx.Client(base_url=held.url) as instructor:
        assert client.post("/class/join", data={"name": SECRET, "code": code}).status_code == 303
        form = {"file:src/main.rs": f"fn main() {{}} // {SECRET}\n", "command": "cargo check"}
        assert client.post("/lessons/hello-std/runs", data=form).status_code == 200
        client.post("/class/shown", data={"step": "hello-std", "at": "hello-std"})
        client.post("/class/hand", data={"raised": "1"})
        assert instructor.post("/class/enter", data={"key": held.key}).status_code == 303
        number = re.search(r"/class/members/(\d+)", instructor.get("/class").text)
        assert number
        sent = {"step": "hello-std", "kind": "sentence", "text": SECRET}
        assert instructor.post(f"/class/members/{number[1]}/send", data=sent).status_code == 303
        assert SECRET in instructor.get("/class").text
        yield client


@attack("class-by-address", "see the class, or change it, by the addresses of the instructor's pages, as a learner")
def test_class_by_address(held: ClassServer, victim: httpx.Client, code: str) -> None:
    with seated(held.url) as learner, httpx.Client(base_url=held.url) as nobody:
        learner.post("/class/join", data={"name": "eve", "code": code})
        for client in (learner, nobody):
            for path in PATHS:
                answer = client.get(path)
                assert answer.status_code in (403, 404), path
                assert SECRET not in answer.text
            for path in POSTS:
                form = {
                    "step": "hello-std",
                    "banner": "owned",
                    "text": "owned",
                    "kind": "sentence",
                    "show": "step no-std",
                }
                assert client.post(path, data=form).status_code in (403, 404), path
    page = victim.get("/lessons/hello-std").text
    assert "owned" not in page
    assert SECRET in page


@attack("class-cookie", "forge or change the instructor's cookie, or use a seat's cookie in its place")
def test_class_cookie(held: ClassServer, victim: httpx.Client) -> None:
    seat = cookie_name(victim.cookies)
    name, signed = seat.replace("seat-", "class-"), victim.cookies[seat]
    for value in (signed, "first." + signed.partition(".")[2], "first.", "first." + "0" * 64, "first", ".", held.key):
        answer = httpx.get(f"{held.url}/class", headers={"cookie": f"{name}={value}"})
        assert answer.status_code == 403, value
        assert SECRET not in answer.text


@attack("class-key-guess", "guess the instructor's key, or the class's code")
def test_class_key_guess(held: ClassServer, code: str) -> None:
    with httpx.Client(base_url=held.url, headers=REMOTE) as guesser:
        keys = [guesser.post("/class/enter", data={"key": f"{held.key[:-1]}{n}"}).status_code for n in range(12)]
        codes = [guesser.post("/class/join", data={"code": f"AAA{n}"}).status_code for n in range(12)]
        right = guesser.post("/class/join", data={"name": "eve", "code": code})
    assert set(keys + codes) == {403, 429}
    # The first answer gives the guesser a seat, whose attempts are counted anew.
    assert (keys.count(403), codes.count(403)) == (6, 5)
    assert right.status_code == 429


@attack("class-lockout", "keep the instructor out by wrong keys from the same address")
def test_class_lockout(held: ClassServer) -> None:
    with httpx.Client(base_url=held.url, headers={"x-forwarded-for": "192.0.2.8"}) as shared:
        guesses = [shared.post("/class/enter", data={"key": "x"}).status_code for _ in range(8)]
        assert guesses[-1] == 429
        assert shared.post("/class/enter", data={"key": held.key}).status_code == 303
        assert shared.get("/class").status_code == 200


@attack(
    "class-forged-form", "change the class by a form on another site's page, in the instructor's or a learner's browser"
)
def test_class_forged_form(held: ClassServer, victim: httpx.Client) -> None:
    with httpx.Client(base_url=held.url) as instructor:
        instructor.post("/class/enter", data={"key": held.key})
        before = instructor.get("/class?sort=name").text
        for foreign in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
            for path in POSTS:
                form = {"step": "hello-std", "banner": "owned", "closed": "1", "kind": "sentence", "text": "owned"}
                assert instructor.post(path, data=form, headers=foreign).status_code == 403, path
            for path in OWN_POSTS:
                assert victim.post(path, data={"name": "owned"}, headers=foreign).status_code == 403, path
        rows = re.compile(r'id="seat-\d+"')
        assert rows.findall(instructor.get("/class?sort=name").text) == rows.findall(before)
        assert "owned" not in instructor.get("/class").text
    assert "Your hand is raised" in victim.get("/lessons/hello-std").text


@attack(
    "class-names", "choose a name that is markup, hides, covers the rows around it, turns them around, or is another's"
)
@pytest.mark.usefixtures("victim")
def test_class_names(held: ClassServer, code: str) -> None:
    with seated(held.url) as learner, httpx.Client(base_url=held.url) as instructor:
        assert learner.post("/class/join", data={"name": "eve", "code": code}).status_code == 303
        instructor.post("/class/enter", data={"key": held.key})

        def shown(name: str) -> list[str]:
            learner.post("/class/join", data={"name": name})
            return re.findall(r"<bdi>(.*?)</bdi>", instructor.get("/class").text)

        assert "<script>" not in "".join(shown("<script>alert(1)</script>"))
        assert any(label.startswith("Seat ") for label in shown("\u3164\u2800\u200b"))
        assert "\u202e" not in "".join(shown("\u202eadA"))
        assert all(label.count("\u0301") <= 2 for label in shown("a" + "\u0301\u200d" * 14))
        for same in (SECRET, SECRET.upper(), SECRET.replace("-", "\u2010"), f"{SECRET[:-1]}\uff4d"):
            labels = [label for label in shown(same) if label.casefold().startswith("hush")]
            assert all(re.search(r" \(\d+\)$", label) for label in labels), same
        member = re.search(r"/class/members/(\d+)", instructor.get("/class").text)
        assert member
        assert f"Ada ({member[1]}) (" in "".join(shown(f"Ada ({member[1]})"))


@attack("class-long-name", "join with a name of 400,000 accents in an order that takes minutes to normalize")
def test_class_long_name(held: ClassServer) -> None:
    name = "a" + 200_000 * "\u0300" + 200_000 * "\u0316"
    # A part without a content type, as browsers send fields: letters take two bytes and no escapes.
    part = f'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n{name}\r\n--b--\r\n'.encode()
    headers = {"content-type": "multipart/form-data; boundary=b"}
    with httpx.Client(base_url=held.url, timeout=30 * SLOWER_BY) as stranger:
        answer = stranger.post("/class/join", content=part, headers=headers)
        assert answer.status_code in (403, 422)
        assert stranger.get("/healthz").status_code == 200


@attack("class-flood", "fill the class with seats of one's own, so that nobody else can join or be found")
def test_class_flood(held: ClassServer, victim: httpx.Client, code: str) -> None:
    with httpx.Client(base_url=held.url) as instructor, httpx.Client(base_url=held.url) as flooder:

        def seat() -> str:
            """Return the cookie of a new seat."""
            flooder.cookies.clear()
            return flooder.get("/class/strip").headers["set-cookie"].partition(";")[0]

        def join(cookie: str, address: str = "192.0.2.9") -> int:
            flooder.cookies.clear()
            headers = {"x-forwarded-for": address, "cookie": cookie}
            return flooder.post("/class/join", data={"name": "flood", "code": code}, headers=headers).status_code

        instructor.post("/class/enter", data={"key": held.key})
        seats = [seat() for _ in range(105)]
        began = time.monotonic()
        joined = [join(each) for each in seats]
        took = time.monotonic() - began
        assert set(joined) <= {303, 429}
        assert joined.count(303) <= 100 * (1 + took // 60)  # the limit is one of a minute
        assert took > 60 or joined.count(429) == 5
        late = seat()
        assert join(late, "192.0.2.10") == 303
        assert instructor.post("/class/pace", data={"closed": "1"}).status_code == 303
        assert join(seat(), "192.0.2.10") == 409
        assert instructor.post("/class/sweep").status_code == 303
        page = instructor.get("/class").text
        assert "flood" not in page
        assert SECRET in page
        assert instructor.post("/class/pace", data={"closed": ""}).status_code == 303
        assert join(late, "192.0.2.10") == 303
    assert "Your hand is raised" in victim.get("/lessons/hello-std").text


@attack("class-numbers", "break the class's pages with numbers that no row has: huge, negative, or not even numbers")
def test_class_numbers(held: ClassServer, victim: httpx.Client) -> None:
    with httpx.Client(base_url=held.url) as instructor:
        instructor.post("/class/enter", data={"key": held.key})
        for number in ("0", "-1", str(2**63 - 1), str(2**63), "9" * 4000, "1e3", "%00", "x"):
            for path in (f"/class/members/{number}", f"/class/runs/{number}", f"/class/step/{number}"):
                assert 200 <= instructor.get(path).status_code < 500, path
            for path in ("members/{}/send", "members/{}/seat", "members/{}/hand", "members/{}/remove", "runs/{}/close"):
                assert instructor.post("/class/" + path.format(number)).status_code < 500, path
            assert victim.post(f"/class/words/{number}").status_code < 500
        assert victim.post(f"/class/words/{2**63}").status_code == 422
    assert SECRET in victim.get("/lessons/hello-std").text


@attack("class-other", "read or change another learner's name, messages, hand or shown run by its id")
def test_class_other(held: ClassServer, victim: httpx.Client, code: str) -> None:
    with seated(held.url) as learner:
        learner.post("/class/join", data={"name": "eve", "code": code})
        for number in range(1, 30):
            learner.post(f"/class/words/{number}")
            learner.post("/lessons/hello-std/snippet", data={"choice": str(number), "file:src/main.rs": ""})
        learner.post("/class/hand")
        learner.post("/class/shown")
        for path in ("/class/me", "/class/strip", "/", "/lessons/hello-std"):
            assert SECRET not in learner.get(path).text, path
        seat = seat_of(victim.cookies)
        assert SECRET not in learner.get(f"/class/strip?seen={seat}&at={seat}").text
    page = victim.get("/lessons/hello-std").text
    assert SECRET in page
    assert "Your hand is raised" in page
    assert "can see a run of yours" in page


@attack(
    "seat-link", "take another's seat by a link that was guessed, used, or made by the instructor while it is in use"
)
def test_seat_link(held: ClassServer, victim: httpx.Client) -> None:
    with httpx.Client(base_url=held.url) as instructor, seated(held.url) as thief:
        mine = seat_of(thief.cookies)
        for token in ("x", "0" * 22, seat_of(victim.cookies), "%2e%2e", held.key):
            assert thief.post(f"/seat/{token}").status_code in (403, 404), token
        instructor.post("/class/enter", data={"key": held.key})
        numbers = set(re.findall(r"/class/members/(\d+)\"", instructor.get("/class?sort=name").text))
        links = [re.search(r"/seat/[\w-]+", instructor.post(f"/class/members/{n}/seat").text) for n in numbers]
        for link in links:
            assert link
            assert instructor.post(link[0]).status_code == 403
            assert thief.post(link[0]).status_code == 409
        assert seat_of(thief.cookies) == mine
        own = re.search(r"/seat/[\w-]+", victim.post("/class/seat").text)
        assert own
        assert victim.post(own[0]).status_code == 303
        assert thief.post(own[0]).status_code == 404


def test_the_key_is_in_no_answer_but_the_cookie_and_in_no_log(held: ClassServer, data: Path) -> None:
    with httpx.Client(base_url=held.url) as instructor:
        entered = instructor.post("/class/enter", data={"key": held.key})
        assert held.key not in str(entered.headers) + entered.text
        for path in ("/class", "/class/wall", "/class/step/hello-std"):
            answer = instructor.get(path)
            assert held.key not in answer.text
            assert answer.headers["referrer-policy"] == "same-origin"
    assert held.key not in playground(data, "export", "--names").stdout
