// The terminal and what leads from it into the editor; all of it can be missing, and the page still works.
//   data-follow        a terminal that stays at its end while the reader is at its end
//   data-file          on a link, with data-line and data-column: a place to go to
//   data-explain       on a link: an error code, whose explanation opens beside the page
import * as files from "./files.js";

const away = new WeakSet();

// Scrolling does not bubble, but can be captured: one listener serves every terminal there will be.
document.addEventListener(
  "scroll",
  ({ target }) => {
    if (!target.dataset || !("follow" in target.dataset)) return;
    const atEnd = target.scrollHeight - target.scrollTop - target.clientHeight < 24;
    if (atEnd) away.delete(target);
    else away.add(target);
  },
  { capture: true, passive: true },
);

let waiting = false;

// Once for each picture that the browser draws, however many swaps there were.
document.addEventListener("htmx:after:swap", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    for (const terminal of document.querySelectorAll("[data-follow]")) {
      if (!away.has(terminal)) terminal.scrollTop = terminal.scrollHeight;
    }
  });
});

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
