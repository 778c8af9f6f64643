// Keeps a page of the class up to date while it is visible; without it the page is as it was when it was loaded.
//   data-updates       the address of the page's event stream, in which something comes every few seconds
//   data-stale         shows template#stale while nothing comes or what comes cannot be shown
//
// A run's stream replays what was missed, which htmx's extension asks for. A page of the class shows the present instead:
// whenever its stream is in doubt, it opens another one, which begins with the whole page. A hidden page has no stream,
// because a browser opens only six connections to a server, and the seventh page would wait for ever.

const SILENT_MS = 15_000; // the server sends a beat at least every six seconds
const AGAIN_MS = [500, 1000, 2000, 4000];

const page = document.querySelector("[data-updates]");
const stale = document.querySelector("[data-stale]");

let source = null;
let waiting; // the timer of the next attempt
let failures = 0;
let heard; // when something came last and was shown, or when the page was
let begun; // when the stream was opened
let drawn = Promise.resolve();

const close = () => {
  clearTimeout(waiting);
  source?.close();
  source = null;
};

const hear = () => {
  heard = Date.now();
  failures = 0;
  stale.replaceChildren();
};

const open = () => {
  close();
  begun = Date.now();
  source = new EventSource(page.dataset.updates);
  source.addEventListener("beat", hear);
  source.addEventListener("message", ({ data }) => {
    drawn = drawn.then(() => htmx.swap({ sourceElement: page, text: data, swap: "none" })).then(hear, retry);
  });
  // A browser gives up after an answer such as 502, so the page tries again itself.
  source.addEventListener("error", retry);
};

const retry = () => {
  close();
  if (document.hidden) return;
  const pause = AGAIN_MS[Math.min(failures++, AGAIN_MS.length - 1)];
  waiting = setTimeout(open, pause * (0.7 + 0.6 * Math.random())); // not every page at once after a restart
};

const show = () => {
  heard = Date.now();
  open();
};

const watch = () => {
  if (document.hidden || Date.now() - heard < SILENT_MS) return;
  if (!stale.hasChildNodes()) stale.append(document.getElementById("stale").content.cloneNode(true));
  // A connection that broke without a word, as when a laptop changes its network, never reports an error.
  if (source && Date.now() - begun >= SILENT_MS) open();
};

if (page) {
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : show()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", ({ persisted }) => persisted && show());
  setInterval(watch, 1000);
  if (!document.hidden) show();
}
