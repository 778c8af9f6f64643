"""Every state that a page can be in, for the tests that look at all of them."""

import re
from collections.abc import Callable

import httpx
from playwright.sync_api import Page, expect

from app.course import Lesson, load_shelf
from app.settings import Settings
from tests.browser.test_course import ENDLESS, RUN_MS, type_files
from tests.conftest import BARE_METAL, disagreement, seated

PageState = Callable[[Page, str], None]
NO_MAIN = (
    "#![no_std]\n#![no_main]\n\nuse core::panic::PanicInfo;\n\n"
    "#[panic_handler]\nfn panic(_info: &PanicInfo) -> ! {\n    loop {}\n}\n"
)
FLOOD = 'fn main() {\n    loop {\n        println!("{}", "flood ".repeat(400));\n    }\n}\n'
LONELY = ("/", "/glossary", "/compilers", "/explain/E0658", "/nowhere")
"""Pages that are no lesson."""
PAGES = {
    "/": "/",
    "/glossary": "/glossary",
    "/compilers": "/compilers",
    "/explain/{code}": "/explain/E0658",
    "/lessons/{slug}": "/lessons/hello-std",
    "/lessons/{slug}/comparisons/{ids}": "compared_alone",
    "/runs/{run_id}/artifact": "carded_alone",
    "/runs/{run_id}/step": "stepped_alone",
}
"""For each page's route an address of ``paths``, or a state, by which the tests come to it."""
NO_PAGES = {
    "/lessons/{slug}/comparisons/{ids}/events",
    "/lessons/{slug}/targets",
    "/progress/{slug}",
    "/runs/{run_id}/events",
    "/runs/{run_id}/output",
}
"""Routes that answer with a stream, a text or a part of a page."""


def opened(page: Page) -> None:
    """With all that unfolds unfolded."""
    page.locator("summary").evaluate_all("all => all.forEach(each => each.parentElement.open = true)")


def when_closed(page: Page, end: Callable[[], object]) -> None:
    """End what would keep a place that others wait for."""

    def closed(_: Page) -> None:
        end()

    page.once("close", closed)


def run(page: Page, command: str = "") -> None:
    """Give a command, the offered one when none is said, and wait for its verdict."""
    expect(page.locator("form[data-ready]")).to_be_attached()
    if command:
        page.locator("#command").fill(command)
    page.locator("#command").press("Enter")
    expect(page.locator("#run-verdict > *").first).to_be_visible(timeout=RUN_MS)


def solved(page: Page, server: str, slug: str) -> None:
    """A lesson with the files of its solution and the command that it offers first, run."""
    lesson = load_shelf(Settings().lessons_dir).default.lesson(slug)
    assert lesson
    page.goto(f"{server}/lessons/{slug}")
    type_files(page, {path: text for path, text in lesson.solution.items() if text != lesson.files[path]})
    run(page)
    expect(page.locator(".verdict.reached")).to_be_visible()


def reached(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/hello-std")
    run(page)
    expect(page.locator("#run-verdict")).to_contain_text("Goal reached")


def expected(page: Page, server: str) -> None:
    """The error that the step came for."""
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
    """Other seats have every place; they go when the page is closed."""
    body = {"lesson": "hello-std", "files": {"src/main.rs": ENDLESS}, "command": "cargo run"}
    runs = []
    for _ in range(Settings().max_runs + 1):
        with seated(server) as other:
            address = f"{server}/api/runs/{other.post('/api/runs', json=body).json()['id']}"
            runs.append((address, dict(other.cookies)))
    when_closed(page, lambda: [httpx.delete(address, cookies=seat) for address, seat in runs])
    page.goto(f"{server}/lessons/hello-std")
    page.locator("[data-run]").click()
    expect(page.locator("#run-status")).to_contain_text("before this one", timeout=RUN_MS)


def cancelled(page: Page, server: str) -> None:
    running(page, server)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".verdict")).to_contain_text("Cancelled", timeout=RUN_MS)


def offline(page: Page, server: str) -> None:
    """In the middle of a run."""
    running(page, server)
    page.context.set_offline(True)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#problem")).to_contain_text("does not answer")


def explained(page: Page, server: str) -> None:
    """What the compiler says at length of an error's code."""
    page.goto(f"{server}/lessons/hello-std")
    type_files(page, {"src/main.rs": 'fn main() {\n    let x: u8 = "two";\n}\n'})
    run(page)
    page.locator("#run-terminal a[data-explain]").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()


def missed(page: Page, server: str) -> None:
    """Another error than the one that was to come, foreseen wrongly, with every hint and the solution open."""
    page.goto(f"{server}/lessons/panic-handler")
    page.locator(".options button").first.click()
    expect(page.locator("#run-prediction h2")).to_have_text("You said")
    run(page)
    expect(page.locator("#run-verdict")).to_contain_text("Not there yet")
    for number in range(1, 5):
        page.get_by_role("button", name=re.compile("hint")).click()
        expect(page.locator(".hints li")).to_have_count(number)
    page.get_by_role("button", name="Show one way").click()
    expect(page.locator("#solution .new").first).to_be_visible()


def linked(page: Page, server: str) -> None:
    """The linker's long command, unfolded."""
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


def screened(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/vga-text")
    run(page)
    expect(page.locator(".vga")).to_be_visible()


def carded(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/bare-metal")
    run(page, f"cargo build --target {BARE_METAL}")
    page.get_by_text("Built:").click()
    expect(page.get_by_role("heading", name="Who runs before main")).to_be_visible(timeout=RUN_MS)


def stepped(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/bare-metal")
    run(page, f"cargo build --target {BARE_METAL}")
    page.get_by_role("link", name="Step through it").click()
    expect(page.locator("#stepper-title")).to_be_visible(timeout=RUN_MS)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#stepper-title")).to_contain_text("Step 1 of")


def run_id(page: Page) -> str:
    """The id of the run that the page shows."""
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
    expect(page.locator("#run-status")).to_have_text(re.compile("differ"), timeout=2 * RUN_MS)
    expect(page.locator("#run-columns mark").first).to_be_visible()


def compared_alone(page: Page, server: str) -> None:
    compared(page, server)
    page.get_by_role("link", name="On a page of its own").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("then and now")


def changed(page: Page, server: str) -> None:
    """What changed since the last run, as a diff, and the list of keys."""
    page.goto(f"{server}/lessons/hello-std")
    run(page)
    type_files(page, {"src/main.rs": "fn main() {} // mine\n"})
    page.get_by_role("button", name="What changed since my last run").click()
    expect(page.locator("#changes .new")).to_be_visible()


def keys(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/hello-std")
    expect(page.locator("form[data-ready]")).to_be_attached()
    page.locator("h1").click()
    page.keyboard.press("?")
    expect(page.locator("dialog[data-keys]")).to_be_visible()


STATES: dict[str, PageState] = {
    each.__name__: each
    for each in (
        reached, expected, missed, running, queued, cancelled, offline, explained, linked, observed, flooded, screened,
        carded, carded_alone, stepped, stepped_alone, compared, compared_alone, changed, keys
    )
}  # fmt: skip


def paths(lessons: dict[str, Lesson]) -> list[str]:
    """Every page that needs no run."""
    return [*LONELY, *(f"/lessons/{slug}" for slug in lessons)]
