"""A run's output and names never become markup or a frame of the event stream."""
# ruff: noqa: E501  (programs in another language stand in these lines)

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from tests.attacks.artifacts import ELF
from tests.attacks.case import HELLO, MANIFEST, attack, program
from tests.attacks.world import World

_ACTIVE = {"x-attack", "iframe", "object", "embed", "img", "style", "base", "svg", "math"}
_NAMING = {"href", "src", "action", "formaction", "hx-target", "hx-post", "hx-get", "id", "class"}
_MARKUP = (
    "<x-attack>",
    "</pre></textarea></title></script></template><x-attack>",
    "\"'><x-attack onload=1 ",
    "--></hx-partial><hx-partial hx-target='#x-attack'>",
    "&lt;x-attack&gt;&#60;x-attack&#62;",
    "<script>x-attack</script><img src=x onerror=x-attack>",
    "`<x-attack>` [x](javascript:x-attack) ![x](x-attack) **x**",
    "{{ 7*7 }}{% raw %}",
)
_ANSI = (
    "\x1b]8;;javascript:x-attack\x07link\x1b]8;;\x07",
    "<\x1b[31mx-attack\x1b[0m>",
    "\x1b[31;<x-attack>m",
    '\x1b["><x-attack>m',
    "\x1b[38;5;<x-attack>",
    "\x1bP<x-attack>\x1b\\",
    "<\0x-attack>\x9b31m<\x08x-attack>",
)


class _Page(HTMLParser):
    """Collects active elements and attributes that the playground did not write."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        made = tag == "img" and values.get("src", "").startswith("/static/")
        made |= tag == "svg" and values == {"viewbox": "0 0 100 10", "preserveaspectratio": "none"}  # the meter's bar
        if tag in _ACTIVE and not made:
            self.found.append(tag)
        if tag == "script" and not values.get("src", "").startswith("/static/"):
            self.found.append(f"script {values}")
        for name, value in values.items():
            if name.startswith("on") or name == "style" or "x-attack" in name:
                self.found.append(f"{tag} {name}")
            evil = re.match(r"\s*(javascript|data|vbscript):", value, re.IGNORECASE) or "x-attack" in value
            if evil and name in _NAMING:
                self.found.append(f"{tag} {name}={value}")


def acting(html: str) -> list[str]:
    """Return the elements and attributes that an attacker has injected into a page."""
    page = _Page()
    page.feed(html)
    page.close()
    return page.found


def frames(text: str) -> Iterator[dict[str, str]]:
    """Split server-sent events as a browser does."""
    frame: dict[str, str] = {}
    for line in re.split(r"\r\n|\n|\r", text):
        if not line:
            if frame:
                yield frame
            frame = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            frame[name] = f"{frame[name]}\n{value}" if name in frame else value


def _posted(client: httpx.Client, main: str = HELLO, manifest: str = MANIFEST, command: str = "cargo run") -> str:
    form = {"file:src/main.rs": main, "file:Cargo.toml": manifest, "command": command}
    return client.post("/lessons/hello-std/runs", data=form).text


def _streamed(client: httpx.Client, main: str, manifest: str = MANIFEST) -> tuple[str, str]:
    """Return the two streams of a run, as JSON and as HTML."""
    body: dict[str, Any] = {"lesson": "hello-std", "command": "cargo run"}
    body |= {"files": {"src/main.rs": main, "Cargo.toml": manifest}}
    accepted = client.post("/api/runs", json=body).json()
    return client.get(accepted["events"]).content.decode(), client.get(
        f"/runs/{accepted['id']}/events"
    ).content.decode()


def _printing(*texts: str) -> str:
    data = "\n".join(texts).encode("utf-8", "surrogatepass")
    return f"fn main() {{ use std::io::Write; std::io::stdout().write_all(&{list(data)}).unwrap(); }}"


def _check(client: httpx.Client, main: str, manifest: str = MANIFEST) -> None:
    assert acting(_posted(client, main, manifest)) == []
    as_json, as_html = _streamed(client, main, manifest)
    assert acting("".join(frame["data"] for frame in frames(as_html))) == []
    events = [json.loads(frame["data"]) for frame in frames(as_json)]
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "verdict"


def test_the_checker_finds_what_acts() -> None:
    for text in ("<x-attack>", "<img src=x>", "<script>1</script>", '<a href=" javascript:1">', "<p onclick=1>"):
        assert acting(f"<pre>{text}</pre>")
    assert not acting("<pre>&lt;x-attack&gt;</pre>")


@attack("html-in-output", "print HTML, Markdown and templates")
def test_html_in_output(stranger: httpx.Client) -> None:
    _check(stranger, _printing(*_MARKUP))


@attack("ansi-in-output", "hide HTML in escape sequences, and links in terminal links")
def test_ansi_in_output(stranger: httpx.Client) -> None:
    _check(stranger, _printing(*_ANSI))


@attack("html-in-diagnostics", "put HTML into the compiler's output: messages, file names, quoted code")
def test_html_in_diagnostics(stranger: httpx.Client) -> None:
    text = "".join(_MARKUP).replace("\\", "\\\\").replace('"', '\\"')
    _check(stranger, f'compile_error!("{text}"); #[path = "{text}.rs"] mod a; fn main() {{ let x: () = "{text}"; }}')


@attack("html-in-panic", "put HTML into a panic's message")
def test_html_in_panic(stranger: httpx.Client) -> None:
    text = "".join(_MARKUP).replace("\\", "\\\\").replace('"', '\\"').replace("{", "{{").replace("}", "}}")
    _check(stranger, f'fn main() {{ panic!("{text}"); }}')


@attack(
    "html-in-names", "put HTML into the names of crate, program and features, and so into cargo's messages and paths"
)
@pytest.mark.parametrize("where", ["name", "version", "bin", "feature", "dependency"])
def test_html_in_names(stranger: httpx.Client, where: str) -> None:
    evil = "<img src=x onerror=x-attack>"
    manifest = {
        "name": MANIFEST.replace("blog_os", evil),
        "version": MANIFEST.replace("0.1.0", evil),
        "bin": MANIFEST + f'[[bin]]\nname = "{evil}"\npath = "src/main.rs"\n',
        "feature": MANIFEST + f'[features]\n"{evil}" = []\n',
        "dependency": MANIFEST + f'[dependencies]\n"{evil}" = "1"\n',
    }[where]
    _check(stranger, HELLO, manifest)


@attack("html-in-artifact", "put HTML, escapes and line ends into the symbols and libraries of the artifact")
def test_html_in_artifact(stranger: httpx.Client) -> None:
    main = program(
        """
        let mut body = symbol(1, 0x1000).to_vec();
        let names = body.len() as u64;
        body.extend_from_slice(b"\\0<img src=x onerror=x-attack>\\r\\n\\r\\nevent: run-done\\n\\x1b[31m\\0");
        let long = body.len() as u64 - names;
        let dynamic = body.len() as u64;
        for word in [1u64, 1, 0, 0] { body.extend_from_slice(&word.to_le_bytes()); }
        let data = elf(0x1000, (3, 4096 + names + 1, long - 1), &[(0, 0, 0, 0, 0, 0), (2, 0, 4096, 24, 2, 24), (3, 0, 4096 + names, long, 0, 0), (6, 0, 4096 + dynamic, 32, 2, 16)], 1, &body);
        let exe = "target/debug/blog_os"; fs::remove_file(exe); fs::write(exe, data).unwrap();""",
        ELF,
    )
    _check(stranger, main)


@attack("html-in-request", "put HTML into the request: the command, the file names, the lesson, the earlier run")
def test_html_in_request(stranger: httpx.Client) -> None:
    for text in (*_MARKUP, *_ANSI):
        assert acting(_posted(stranger, command=f"cargo {text}")) == []
        form = {
            "file:src/main.rs": text,
            f"file:{text}": text,
            "command": text,
            "after": text,
            "toolchain": text,
            "shown": text,
        }
        for headers in ({}, {"HX-Request": "true"}):
            assert acting(stranger.post("/lessons/hello-std/runs", data=form, headers=headers).text) == []
    assert acting(stranger.get("/lessons/%3Cx-attack%3E").text) == []
    assert acting(stranger.get("/?forgotten=%3Cx-attack%3E").text) == []
    for path in ("/", "/lessons/hello-std"):
        assert acting(stranger.get(path).text) == []


@attack("html-in-texts", "store HTML in the editor, for the page that shows it again")
def test_html_in_texts(stranger: httpx.Client) -> None:
    _posted(stranger, "\n".join(_MARKUP), MANIFEST, "rustc --version")
    page = stranger.get("/lessons/hello-std").text
    assert "x-attack" in page
    assert acting(page) == []


@attack(
    "frames-in-output",
    "end a frame of the event stream and begin a forged one, with line ends of every kind, event: and id:",
)
def test_frames_in_output(stranger: httpx.Client) -> None:
    ends = (
        "\n\n",
        "\r\r",
        "\r\n\r\n",
        "\x0b\x0b",
        "\x0c\x0c",
        "\x85\x85",
        "\u2028\u2028",
        "\u2029",
        "\0\n\n",
        "\x1c\x1d\x1e",
    )
    main = _printing(*(f"{end}event: run-done{end}data: x-attack{end}id: 9999{end}retry: 1{end}" for end in ends))
    _check(stranger, main)
    as_json, as_html = _streamed(stranger, main)
    ids, seen = ([int(frame["id"]) for frame in frames(text) if "id" in frame] for text in (as_json, as_html))
    assert ids == list(range(1, len(ids) + 1))
    # The page gets several events in one message, with the id of the last one.
    assert seen == sorted(set(seen) & set(ids))
    assert seen[-1] == ids[-1]
    assert not [frame for text in (as_json, as_html) for frame in frames(text) if "retry" in frame]
    assert [frame.get("event") for frame in frames(as_html) if "event" in frame] == ["run-done"]
    assert [frame for frame in frames(as_json) if frame.keys() != {"data", "id"}] == []


@attack("forged-class", "print the compiler's own error to reach a goal that is an error")
def test_forged_class(world: World) -> None:
    said = "`#[panic_handler]` function required, but not found"
    text = json.dumps(
        {"reason": "compiler-message", "message": {"level": "error", "message": said, "spans": [], "code": None}}
    )
    main = f'compile_error!("{said}"); fn main() {{ println!("{{}}", r#"{text}"#); }}'
    events = list(world.events({"src/main.rs": main, "Cargo.toml": MANIFEST}, "cargo build"))
    assert not [event for event in events if event.get("class")]
