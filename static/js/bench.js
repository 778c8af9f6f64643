// What the lesson page does beyond its forms; all of it can be missing, and the page still works.
//   data-elapsed       counts the seconds of a run that goes on; it holds how many there were when it came
//   template#…         what is said when the server does not answer or does not know a run

const began = new WeakMap();

const tick = () => {
  for (const clock of document.querySelectorAll("[data-live] [data-elapsed]")) {
    if (!began.has(clock)) began.set(clock, performance.now() - 1000 * clock.dataset.elapsed);
    clock.textContent = `${((performance.now() - began.get(clock)) / 1000).toFixed(1)} s`;
  }
};

setInterval(tick, 100);

const say = (id) => {
  const words = document.getElementById(id);
  if (words) document.getElementById("problem")?.replaceChildren(words.content.cloneNode(true));
};

document.addEventListener("htmx:after:settle", ({ target }) => {
  // On a narrow page the result stands below the code: bring it into view when a run begins.
  if (target.id === "run" && target.getBoundingClientRect().top > innerHeight * 0.8) {
    target.scrollIntoView({ block: "start" });
  }
});

document.addEventListener("run-done", () => {
  document.getElementById("run-verdict")?.scrollIntoView({ block: "nearest" });
  // The Cancel button has gone; a reader who was on it goes on from the result.
  if (document.activeElement === document.body) document.getElementById("run")?.focus({ preventScroll: true });
});

let disabling;

document.addEventListener("htmx:error", ({ detail }) => {
  const source = detail.ctx?.sourceElement;
  if (!source?.matches?.("[data-run-key], #run-cancel form")) return;
  say("unreachable");
  if (!source.closest("#run-cancel")) return;
  clearTimeout(disabling);
  source.querySelector("button")?.removeAttribute("disabled");
  const status = document.getElementById("run-status");
  if (status) status.textContent = "Not cancelled yet.";
});

const lost = () => {
  document.getElementById("run")?.removeAttribute("data-live");
  for (const id of ["run-elapsed", "run-cancel"]) document.getElementById(id)?.replaceChildren();
  const status = document.getElementById("run-status");
  if (status) status.textContent = "Lost: the server no longer has this run.";
  say("run-gone");
};

document.addEventListener("htmx:sse:error", ({ detail }) => {
  if (detail.status !== 404) return say("unreachable");
  detail.connection.config.reconnect = false;
  lost();
});

const AGAIN_MS = 1500;
const opened = new WeakSet();

document.addEventListener("htmx:sse:after:connection", ({ target }) => {
  opened.add(target);
  document.getElementById("problem")?.replaceChildren();
});

// htmx's extension reconnects a stream that was open, but never repeats a first request that failed.
document.addEventListener("htmx:finally:request", ({ target, detail }) => {
  if (!target.matches?.("[hx-sse\\:connect]") || opened.has(target)) return;
  const status = detail.ctx.response?.status;
  if (status === 404) return lost();
  if (!status || status >= 500) say("unreachable");
  setTimeout(() => target.isConnected && target.dispatchEvent(new CustomEvent("again")), AGAIN_MS);
});

// The answer to Cancel is at once; the run's own end follows it.
document.addEventListener("submit", ({ target }) => {
  if (!target.closest("#run-cancel")) return;
  const status = document.getElementById("run-status");
  if (status) status.textContent = "Cancelling…";
  disabling = setTimeout(() => target.querySelector("button")?.setAttribute("disabled", ""));
});
