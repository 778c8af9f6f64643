"""Functions that bring a page into each of its states, for the tests that visit all of them."""

import re
from collections.abc import Callable

import httpx
from playwright.sync_api import Page, expect

from app.course import Lesson, load_shelf
from app.settings import Settings
from tests.support.browser import ENDLESS, RUN_MS, menu, show, type_files
from tests.support.clients import disagreement, seated
from tests.support.environment import BARE_METAL

PageState = Callable[[Page, str], None]
NO_MAIN = (
    "#![no_std]\n#![no_main]\n\nuse core::panic::PanicInfo;\n\n"
    "#[panic_handler]\nfn panic(_info: &PanicInfo) -> ! {\n    loop {}\n}\n"
)
FLOOD = 'fn main() {\n    loop {\n        println!("{}", "flood ".repeat(400));\n    }\n}\n'
LONELY = ("/", "/glossary", "/compilers", "/explain/E0658", "/nowhere")
"""Paths of the pages other than lessons."""
PAGES = {
    "/": "/",
    "/glossary": "/glossary",
    "/compilers": "/compilers",
    "/explain/{code}": "/explain/E0658",
    "/lessons/{slug}": "/lessons/hello-std",
    "/lessons/{slug}/comparisons/{ids}": "compared_alone",
    "/lessons/{slug}/finish": "finished",
    "/runs/{run_id}/artifact": "carded_alone",
    "/runs/{run_id}/step": "stepped_alone",
}
"""For each page route, a path or the name of the state that leads to it."""
CLASS_PAGES = {
    "/class": "/class",
    "/class/me": "/class/me",
    "/class/members/{number}": "/class/members/1",
    "/class/runs/{number}": "/class/runs/1",
    "/class/step/{slug}": "/class/step/panic-handler",
    "/class/wall": "/class/wall",
    "/seat/{token}": "/seat/TOKEN",
}
"""For each page route of a class, its path in the class that ``tests/browser/test_classroom.py`` holds."""
NO_PAGES = {
    "/class/events",
    "/class/qr.svg",
    "/class/step/{slug}/events",
    "/class/strip",
    "/class/wall/events",
    "/export",
    "/lessons/{slug}/comparisons/{ids}/events",
    "/lessons/{slug}/finish.svg",
    "/lessons/{slug}/targets",
    "/progress/{slug}",
    "/runs/{run_id}/events",
    "/runs/{run_id}/output",
}
"""Routes that answer with a stream, plain text, a file or a fragment."""


def opened(page: Page) -> None:
    """Open every ``details`` element."""
    page.locator("summary").evaluate_all("all => all.forEach(each => each.parentElement.open = true)")


def when_closed(page: Page, end: Callable[[], object]) -> None:
    """Call ``end`` when the page closes, to free the slots it holds."""

    def closed(_: Page) -> None:
        end()

    page.once("close", closed)


def run(page: Page, command: str = "") -> None:
    """Run a command, by default the offered one, and wait for the verdict."""
    expect(page.locator("form[data-ready]")).to_be_attached()
    if command:
        page.locator("#command").fill(command)
    page.locator("#command").press("Enter")
    expect(page.locator("#run-verdict > *").first).to_be_visible(timeout=RUN_MS)


def solved(page: Page, server: str, slug: str) -> None:
    """Run the lesson's solution with its first command."""
    lesson = load_shelf(Settings().lessons_dir).default.lesson(slug)
    assert lesson
    page.goto(f"{server}/lessons/{slug}")
    type_files(page, {path: text for path, text in lesson.solution.items() if text != lesson.files[path]})
    run(page, lesson.commands[0])
    expect(page.locator(".verdict.reached")).to_be_visible()


def reached(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/hello-std")
    run(page)
    expect(page.locator("#run-verdict")).to_contain_text("Goal reached")


def expected(page: Page, server: str) -> None:
    """Run a step whose goal is an error."""
    solved(page, server, "panic-handler")


def running(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/hello-std")
    expect(page.locator("form[data-ready]")).to_be_attached()
    type_files(page, {"src/main.rs": ENDLESS})
    page.locator("#command").fill("cargo run")
    page.locator("#command").press("Enter")
    expect(page.locator("#run-terminal")).to_contain_text("line 3", timeout=RUN_MS)
    cancel = page.locator("#run-cancel form").get_attribute("action")
    cookies = {each["name"]: each["value"] for each in page.context.cookies()}
    when_closed(page, lambda: httpx.post(f"{server}{cancel}", cookies=cookies))


def queued(page: Page, server: str) -> None:
    """Queue behind the runs of other seats, which end when the page closes."""
    body = {"lesson": "hello-std", "files": {"src/main.rs": ENDLESS}, "command": "cargo run"}
    runs = []
    for _ in range(Settings().max_runs + Settings().max_aside + 1):
        with seated(server) as other:
            address = f"{server}/api/runs/{other.post('/api/runs', json=body).json()['id']}"
            runs.append((address, dict(other.cookies)))
    when_closed(page, lambda: [httpx.delete(address, cookies=seat) for address, seat in runs])
    page.goto(f"{server}/lessons/hello-std")
    page.locator("[data-run]").click()
    expect(page.locator("#run-status")).to_contain_text("ahead of this one", timeout=RUN_MS)


def cancelled(page: Page, server: str) -> None:
    running(page, server)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".verdict")).to_contain_text("Cancelled", timeout=RUN_MS)


def offline(page: Page, server: str) -> None:
    """Lose the connection in the middle of a run."""
    running(page, server)
    page.context.set_offline(True)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#problem")).to_contain_text("answering")


def explained(page: Page, server: str) -> None:
    """Open the compiler's explanation of an error code."""
    page.goto(f"{server}/lessons/hello-std")
    type_files(page, {"src/main.rs": 'fn main() {\n    let x: u8 = "two";\n}\n'})
    run(page)
    page.locator("#run-terminal a[data-explain]").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()


def missed(page: Page, server: str) -> None:
    """Miss the goal after a wrong prediction, with every hint and the solution open."""
    page.goto(f"{server}/lessons/panic-handler")
    page.locator(".options button").first.click()
    expect(page.locator("#run-prediction h2")).to_have_text("Your prediction")
    run(page)
    expect(page.locator("#run-verdict")).to_contain_text("Not there yet")
    for number in range(1, 5):
        page.get_by_role("button", name=re.compile("hint")).click()
        expect(page.locator(".hints li")).to_have_count(number)
    page.get_by_role("button", name="Show solution").click()
    expect(page.locator("#solution .new").first).to_be_visible()


def linked(page: Page, server: str) -> None:
    """Unfold the linker's command line."""
    page.goto(f"{server}/lessons/no-main")
    type_files(page, {"src/main.rs": NO_MAIN})
    run(page, "cargo build")
    page.locator(".linker summary").click()
    expect(page.locator(".linker .supplies")).to_be_visible()


def observed(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/hello-without-libc")
    run(page, "cargo run")
    expect(page.locator("#run-observed")).to_contain_text("Killed by SIGSEGV")


def flooded(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/hello-std")
    type_files(page, {"src/main.rs": FLOOD})
    run(page, "cargo run")


def booted(page: Page, server: str) -> None:
    """Boot a machine that locks up, and open the list of what runs before the learner's code."""
    page.goto(f"{server}/lessons/boot-arm")
    run(page)
    expect(page.locator(".machine")).to_contain_text("Locked up")
    page.locator(".startup").click()
    expect(page.locator("#startup")).to_be_visible()


def screened(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/vga-text")
    run(page)
    expect(page.locator(".vga")).to_be_visible()


def carded(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/bare-metal")
    run(page, f"cargo build --target {BARE_METAL}")
    show(page, "binary")
    expect(page.get_by_role("heading", name="Who runs before main")).to_be_visible(timeout=RUN_MS)


def stepped(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/bare-metal")
    run(page, f"cargo build --target {BARE_METAL}")
    show(page, "binary")
    page.get_by_role("link", name="Step through it").click()
    expect(page.locator("#stepper-title")).to_be_visible(timeout=RUN_MS)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#stepper-title")).to_contain_text("Step 1 of")


def run_id(page: Page) -> str:
    """Return the id of the run that the page shows."""
    address = page.locator("#run a[href*='/runs/']").first.get_attribute("href") or ""
    return address.split("/runs/")[1].split("/")[0]


def carded_alone(page: Page, server: str) -> None:
    reached(page, server)
    page.goto(f"{server}/runs/{run_id(page)}/artifact")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Inside")


def stepped_alone(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/bare-metal")
    run(page, f"cargo build --target {BARE_METAL}")
    page.goto(f"{server}/runs/{run_id(page)}/step?at=1")
    expect(page.get_by_role("heading", level=1)).to_have_text("Step through it")


def compared(page: Page, server: str) -> None:
    slug, command = disagreement(server)
    page.goto(f"{server}/lessons/{slug}")
    page.select_option("select[name=toolchain]", "all")
    page.locator("#command").fill(command)
    page.locator("[data-run]").click()
    expect(page.locator("#run-status")).to_have_text(re.compile("differ|disagree"), timeout=2 * RUN_MS)
    expect(page.locator("#run-columns mark").first).to_be_visible()


def compared_alone(page: Page, server: str) -> None:
    compared(page, server)
    page.get_by_role("link", name="Open as page").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("then and now")


def changed(page: Page, server: str) -> None:
    """Show the changes since the last run as a diff."""
    page.goto(f"{server}/lessons/hello-std")
    run(page)
    type_files(page, {"src/main.rs": "fn main() {} // mine\n"})
    menu(page, "Reset")
    page.get_by_role("button", name="Show changes since my last run").click()
    expect(page.locator("#changes .new")).to_be_visible()


def keys(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/hello-std")
    expect(page.locator("form[data-ready]")).to_be_attached()
    page.locator("h1").click()
    page.keyboard.press("?")
    expect(page.locator("dialog[data-keys]")).to_be_visible()


def finished(page: Page, server: str) -> None:
    """Open the page at the end of the post's steps, with the binary of the last one."""
    solved(page, server, "summary")
    page.get_by_role("link", name="See what you built").click()
    expect(page.locator(".card img")).to_be_visible()


STATES: dict[str, PageState] = {
    each.__name__: each
    for each in (
        reached, expected, missed, running, queued, cancelled, offline, explained, linked, observed, flooded, booted,
        screened, carded, carded_alone, stepped, stepped_alone, compared, compared_alone, changed, finished, keys
    )
}  # fmt: skip


def paths(lessons: dict[str, Lesson]) -> list[str]:
    """Return the path of every page that needs no run."""
    return [*LONELY, *(f"/lessons/{slug}" for slug in lessons)]
