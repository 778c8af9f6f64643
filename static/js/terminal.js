// The terminal and what leads from it into the editor; all of it can be missing, and the page still works.
//   data-follow        a terminal that stays at its end while the reader is at its end
//   data-file          on a link, with data-line and data-column: a place to go to
//   data-explain       on a link: an error code, whose explanation opens beside the page
import * as files from "./files.js";

const away = new WeakSet();
const tops = new WeakMap();

// Scrolling does not bubble, but can be captured: one listener serves every terminal there will be. Only a reader
// scrolls back; a block of lines that turns out higher than was thought moves the end, and nobody has left it.
document.addEventListener(
  "scroll",
  ({ target }) => {
    if (!target.dataset || !("follow" in target.dataset)) return;
    const atEnd = target.scrollHeight - target.scrollTop - target.clientHeight < 24;
    if (atEnd) away.delete(target);
    else if (target.scrollTop < (tops.get(target) ?? 0) - 1) away.add(target);
    tops.set(target, target.scrollTop);
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
