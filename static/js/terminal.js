// The terminal and what leads from it into the editor; all of it can be missing, and the page still works.
//   data-follow        a terminal that stays at its end while the reader is at its end
//   data-past          in it: what earlier runs of this page printed, the oldest first
//   data-error         stands before an error: a run that has ended is shown from its first error on
//   data-file          on a link, with data-line and data-column: a place to go to
//   data-explain       on a link: an error code, whose explanation opens beside the page
import * as files from "./files.js";

const away = new WeakSet();
const scrolled = new WeakMap();
const PAUSE_MS = 200;

// Scrolling does not bubble, but can be captured: one listener serves every terminal there will be. Only a reader
// scrolls back; a block of lines that turns out higher than was thought moves the end, and nobody has left it. Who
// scrolls down wants to be where the end was then, for in a flood it has moved on before the scrolling is done.
document.addEventListener(
  "scroll",
  ({ target, timeStamp: time }) => {
    if (!target.dataset || !("follow" in target.dataset)) return;
    const { scrollTop: top, scrollHeight: height, clientHeight: screen } = target;
    const last = scrolled.get(target) ?? { top: 0, time: 0 };
    const back = top < last.top - 1;
    const end = back || time - last.time > PAUSE_MS ? height : last.end;
    if (height - top - screen < 24) away.delete(target);
    else if (back) away.add(target);
    else if (top > last.top && end - top - screen < screen / 2) away.delete(target);
    scrolled.set(target, { top, time, end });
  },
  { capture: true, passive: true },
);

let waiting = false;

const follow = (again) => {
  waiting = false;
  for (const terminal of document.querySelectorAll("[data-follow]")) {
    if (!away.has(terminal)) terminal.scrollTop = terminal.scrollHeight;
  }
  if (again) soon(again - 1);
};

const soon = (again) => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => follow(again));
};

// Once for each picture that the browser draws, and twice more: lines that come into view get their true height.
document.addEventListener("htmx:after:swap", () => soon(2));

// Messages that have come together would be swapped in one go, with no picture and no key between them.
const drawn = () =>
  new Promise((resolve) => {
    const late = setTimeout(resolve, 100);
    requestAnimationFrame(() => {
      clearTimeout(late);
      setTimeout(resolve);
    });
  });

let before = Promise.resolve();

document.addEventListener("htmx:sse:before:message", ({ detail }) => detail.waitUntil(before));
document.addEventListener("htmx:sse:after:message", () => { before = drawn(); });

// --- runs one below the other -------------------------------------------------------------------------------

const MOST_PAST = 12;
const MOST_TEXT = 64 * 1024; // characters that an earlier run may keep on the page

let output = document.getElementById("run-output");

const keep = (old, now) => {
  const [before, past] = [old, now].map((each) => each.querySelector("[data-past]"));
  past.append(...before.children);
  const parts = [old.querySelector(".prompt"), old.querySelector(".terminal")];
  if (parts.every((part) => !part.hasChildNodes())) return;
  const [, terminal] = parts;
  if (terminal.textContent.length > MOST_TEXT) terminal.replaceChildren("…");
  for (const part of parts) part.removeAttribute("id");
  const run = document.createElement("div");
  run.className = "past-run";
  run.append(...parts);
  past.append(run);
  while (past.childElementCount > MOST_PAST) past.firstElementChild.remove();
};

document.addEventListener("htmx:after:swap", () => {
  const now = document.getElementById("run-output");
  if (!now || now === output) return;
  if (output) keep(output, now);
  output = now;
});

// --- where a run that has ended is read from ---------------------------------------------------------------

const LONG = 200; // lines after which the end of what a program printed says more than its beginning
const LINE = 32; // pixels that a line takes, with room below it
const RUNS = /^\$ (cargo (run|test)|\S*\/)/;

const begin = () => {
  const terminal = document.getElementById("run-terminal");
  if (!output || !terminal || away.has(output)) return;
  const error = terminal.querySelector("[data-error]");
  const prompt = document.getElementById("run-command");
  if (!error && RUNS.test(prompt.textContent.trim()) && terminal.textContent.split("\n").length > LONG) return;
  const place = error ? (error.nextElementSibling ?? error) : prompt;
  if (!place) return;
  const top = () => place.getBoundingClientRect().top;
  output.scrollTop += top() - output.getBoundingClientRect().top - 8;
  // On a low window, or a magnified one, the page scrolls as well: to the verdict and what is read first, or at least to that.
  for (const part of [output.closest("#run"), output]) {
    if (top() > innerHeight - LINE) part.scrollIntoView({ block: "start" });
  }
};

document.addEventListener("run-done", () => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(begin))));
if (!document.querySelector("#run[data-live]")) begin();

const dialog = document.getElementById("explain");

const explain = async (link) => {
  const answer = await fetch(link.href, { headers: { "HX-Request": "true" } });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  dialog.querySelector("[data-explained]").innerHTML = await answer.text();
  dialog.showModal();
};

document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const place = event.target.closest?.("a[data-file]");
  const code = dialog && event.target.closest?.("a[data-explain]");
  if (place && files.jump(place.dataset.file, Number(place.dataset.line), Number(place.dataset.column))) event.preventDefault();
  if (code) {
    event.preventDefault();
    explain(code).catch(() => location.assign(code.href));
  }
});
