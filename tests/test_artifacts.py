"""The card and the download of a run's artifact, over HTTP from a real server with the real cargo."""

import hashlib
import json
import time
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.clients import seated
from tests.support.environment import within

BARE_METAL = "cargo build --target thumbv7em-none-eabihf"
NOT_OURS = "0" * 32


def ran(client: httpx.Client, lesson: str, command: str) -> str:
    """Run the command and return the id of the finished run."""
    posted = client.post("/api/runs", json={"lesson": lesson, "command": command}).json()
    with client.stream("GET", posted["events"]) as stream:
        assert any('"verdict"' in line for line in stream.iter_lines())
    return str(posted["id"])


@pytest.fixture
def client(server: str) -> Any:
    with httpx.Client(base_url=server, timeout=30) as made:
        yield made


@pytest.mark.usefixtures("bare_metal")
def test_the_card_says_what_the_event_says_and_more(client: httpx.Client) -> None:
    run_id = ran(client, "bare-metal", BARE_METAL)
    card = client.get(f"/api/runs/{run_id}/artifact").json()
    assert (card["format"], card["machine"], card["entry_symbol"]) == ("ELF", "ARM", "_start")
    assert (card["needed"], card["interpreter"], card["unread"]) == ([], None, [])
    assert card["symbols"]["names"] == ["_start"]
    assert [call["how"] for call in card["calls"]] == ["entry"]
    assert {one["file"] for one in card["code"]["instructions"]} == {"src/main.rs"}
    assert sum(section["bytes"] for section in card["sections"]) < card["bytes"]
    assert card["since"] == []


@pytest.mark.parametrize(
    ("lesson", "command"),
    [
        ("windows", 'x86_64-pc-windows-msvc -- -C link-args="/ENTRY:_start /SUBSYSTEM:console"'),
        ("macos", 'x86_64-apple-darwin -- -C link-args="-e __start -static"'),
        ("macos", 'aarch64-apple-darwin -- -C link-args="-e __start -static"'),
    ],
)
def test_the_lines_of_a_program_for_another_system(client: httpx.Client, lesson: str, command: str) -> None:
    slug = f"{lesson}-linker-arguments"
    card = client.get(f"/api/runs/{ran(client, slug, f'cargo rustc --target {command}')}/artifact").json()
    source = client.get(f"/api/lessons/{slug}").json()["files"]["src/main.rs"]["text"].splitlines()
    assert card["unread"] == []
    assert {one["file"] for one in card["code"]["instructions"]} == {"src/main.rs"}
    begins = source.index('pub extern "C" fn _start() -> ! {') + 1
    assert {one["line"] for one in card["code"]["instructions"]} <= {begins, begins + 1}


def test_the_card_of_a_std_program_is_measured_against_itself(client: httpx.Client) -> None:
    run_id = ran(client, "hello-std", "cargo build")
    card: dict[str, Any] = {"std": None}
    began = time.monotonic()
    while card["std"] is None and within(60, began):
        card = client.get(f"/api/runs/{run_id}/artifact").json()
    assert card["std"]["profile"] == "debug"
    assert 0.9 < card["bytes"] / card["std"]["bytes"] < 1.1
    assert [call["name"] for call in card["calls"]][:3] == ["_start", "__libc_start_main", "main"]


def test_the_file_comes_as_an_attachment(client: httpx.Client) -> None:
    run_id = ran(client, "hello-std", "cargo build")
    card = client.get(f"/api/runs/{run_id}/artifact").json()
    answer = client.get(f"/api/runs/{run_id}/artifact/file")
    assert hashlib.sha256(answer.content).hexdigest() == card["sha256"]
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="blog_os"'
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_interrupted_download_can_be_resumed(client: httpx.Client) -> None:
    path = f"/api/runs/{ran(client, 'hello-std', 'cargo build')}/artifact/file"
    answer = client.get(path)
    whole, tag = answer.content, answer.headers["etag"]
    size = len(whole)

    def part(wanted: str, condition: str = tag) -> tuple[int, bytes]:
        found = client.get(path, headers={"range": wanted, "if-range": condition})
        assert found.headers.get("content-range", "").endswith(f"/{size}") == (found.status_code == 206)
        return found.status_code, found.content

    assert part("bytes=0-0") == (206, whole[:1])
    assert part("bytes=100000-300000") == (206, whole[100_000:300_001])
    assert part(f"bytes={size - 10}-") == (206, whole[-10:])
    assert part(f"bytes=1-{10**14}") == (206, whole[1:])
    assert part("bytes=-70000") == (206, whole[-70_000:])
    for unusable in (
        "bytes=-",
        "bytes=5-2",
        f"bytes={size}-",
        "bytes=0-1,5-6",
        "lines=1-2",
        "bytes=-0",
        "bytes=" + "9" * 99,
    ):
        assert part(unusable) == (200, whole), unusable
    assert part("bytes=0-0", '"another"') == (200, whole)


_HIDDEN = "\u202e\u2066\u200b\x07\x1b\x7f\x85\u2028\t"
_FORGED = r"""
#[cfg(proc_macro)]
#[proc_macro]
pub fn tell(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let folder = std::env::current_dir().unwrap().join("target/debug");
    let name = format!("{}exe.{}", HIDDEN, "txt");
    std::fs::write(folder.join(&name), "not a binary").unwrap();
    let named: String = folder.join(&name).to_str().unwrap().chars()
        .map(|one| if one < ' ' { format!("\\u{:04x}", one as u32) } else { one.to_string() }).collect();
    println!(r#"{{"reason":"compiler-artifact","target":{{"kind":["bin"],"name":"x"}},"profile":{{"test":false}},"executable":"{named}"}}"#);
    "compile_error!(\"told\");".parse().unwrap()
}
#[cfg(not(proc_macro))]
told::tell!();
#[cfg(not(proc_macro))]
fn main() {}
const HIDDEN: &str = "@";
"""
_MANIFEST = """[package]
name = "blog_os"
version = "0.1.0"
edition = "2021"

[lib]
name = "told"
path = "src/main.rs"
proc-macro = true
"""


def test_invisible_characters_in_a_name_are_shown(server: str) -> None:
    hidden = "".join(f"\\u{{{ord(one):x}}}" for one in _HIDDEN)
    files = {"src/main.rs": _FORGED.replace("@", hidden), "Cargo.toml": _MANIFEST}
    with seated(server) as learner:
        wanted = {"lesson": "hello-std", "command": "cargo build", "files": files}
        run_id = learner.post("/api/runs", json=wanted).json()["id"]
        events = learner.get(f"/api/runs/{run_id}/events").text
        learner.post(
            "/lessons/hello-std/runs", data={"command": "cargo build"} | {f"file:{k}": v for k, v in files.items()}
        )
        shown = {
            "events": events,
            "state": learner.get(f"/api/runs/{run_id}").text,
            "stream": learner.get(f"/runs/{run_id}/events").text,
            "card": learner.get(f"/api/runs/{run_id}/artifact").text,
            "page of the card": learner.get(f"/runs/{run_id}/artifact").text,
            "lesson": learner.get("/lessons/hello-std").text,
            "comparison": learner.get(f"/lessons/hello-std/comparisons/{run_id}").text,
            "stepper": learner.get(f"/runs/{run_id}/step").text,
        }
        download = learner.get(f"/api/runs/{run_id}/artifact/file")
    name = "\ufffd" * len(_HIDDEN) + "exe.txt"
    assert f"target/debug/{name}" in events, f"the forged artifact was not taken: {events}"
    for place, text in shown.items():
        assert not set(_HIDDEN) - {"\t"} & set(text), place
        assert (name in text) == (place in ("events", "stream", "card", "page of the card", "lesson")), place
    assert download.content == b"not a binary"
    assert quote(name) in download.headers["content-disposition"]


def test_a_run_that_built_nothing_has_no_card(client: httpx.Client) -> None:
    run_id = ran(client, "hello-std", "rustc --version")
    for path in ("artifact", "artifact/file"):
        answer = client.get(f"/api/runs/{run_id}/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "nothing-built")
        assert client.get(f"/api/runs/{NOT_OURS}/{path}").status_code == 404


@pytest.mark.usefixtures("bare_metal")
def test_what_changed_since_an_earlier_run(server: str, client: httpx.Client) -> None:
    with seated(server) as learner:
        first = ran(learner, "hello-std", "cargo build")
        second = ran(learner, "bare-metal", BARE_METAL)
        [since] = learner.get(f"/api/runs/{second}/artifact").json()["since"]
        assert (since["run"], since["lesson"]) == (first, "hello-std")
        changes = {change["what"]: change for change in since["changes"]}
        assert changes["loader"]["after"] == "none"
        assert changes["bytes"]["more"] < 0
        named = learner.get(f"/api/runs/{second}/artifact", params={"since": second}).json()["since"]
        assert [(one["run"], one["changes"]) for one in named] == [(second, [])]
        # Another seat sees neither artifact, not even for a comparison.
        for path in (f"{first}/artifact", f"{first}/artifact/file"):
            assert client.get(f"/api/runs/{path}").status_code == 404
        own = ran(client, "hello-std", "cargo build")
        answer = client.get(f"/api/runs/{own}/artifact", params={"since": first})
        assert (answer.status_code, json.loads(answer.text)["error"]["field"]) == (404, "since")
