// What was typed and not yet run, kept in this browser: a reload, a lost connection and a server's end lose nothing.
//   data-draft         on the form: the lesson's key; each tab keeps a draft of its own
//   data-seat          on the body: a name for the seat; the next one in this browser must not see the drafts of others
//   data-fresh         on the body: the seat begins with this page; of several such tabs, the browser keeps one's seat
//   data-carry         on a form that carries files into the lesson with this key
// Carrying files into a lesson drops its draft, and deleting all that is stored drops every draft of the seat.
//   template#draft-offer   how another text is offered; [data-take] takes it, [data-keep] sends the offer away
import * as files from "./files.js";

const form = document.querySelector("form[data-draft]");
const PREFIX = "playground:draft:";
const SEAT = document.body.dataset.seat;
const MONTH = 30 * 24 * 3600 * 1000;

const attempt = (action) => {
  try {
    return action();
  } catch {
    return null; // No storage, or no room in it: the text is in the page, as ever.
  }
};

// The tab keeps its number over reloads; a new tab gets a new one.
const tab = attempt(() => {
  const number = sessionStorage.getItem("playground:tab") ?? crypto.getRandomValues(new Uint32Array(2)).join("-");
  sessionStorage.setItem("playground:tab", number);
  return number;
}) ?? "tab";

const ofSeat = (lesson) => `${PREFIX}${lesson}:${SEAT}.`;
const key = (lesson) => `${ofSeat(lesson)}${tab}`;
const all = () => Object.keys(localStorage).filter((each) => each.startsWith(PREFIX));
const read = (name) => attempt(() => JSON.parse(localStorage.getItem(name)));
const same = (one, other) => files.editable().every((path) => one?.[path] === undefined || one[path] === other[path]);

const take = (texts) => {
  for (const path of files.editable()) if (typeof texts[path] === "string") files.put(path, texts[path]);
};

// A tab keeps its drafts when it began with a seat that the browser has not kept, and those of earlier versions, which
// did not name the seat.
attempt(() => {
  const was = JSON.parse(sessionStorage.getItem("playground:seat"));
  const ends = [`:${tab}`, ...(was?.fresh ? [`:${was.name}.${tab}`] : [])];
  for (const end of ends.filter((each) => each !== `:${SEAT}.${tab}`)) {
    for (const name of all().filter((each) => each.endsWith(end))) {
      const own = key(name.slice(PREFIX.length, -end.length));
      if (!localStorage.getItem(own)) localStorage.setItem(own, localStorage.getItem(name));
      localStorage.removeItem(name);
    }
  }
  sessionStorage.setItem("playground:seat", JSON.stringify({ name: SEAT, fresh: "fresh" in document.body.dataset }));
});

let offered = null;

const offer = (texts, words) => {
  const place = document.getElementById("draft");
  offered = texts;
  place.replaceChildren(document.getElementById("draft-offer").content.cloneNode(true));
  place.querySelector("[data-words]").textContent = words;
};

const withdraw = () => {
  offered = null;
  document.getElementById("draft")?.replaceChildren();
};

const start = (lesson) => {
  const own = key(lesson);
  // What the server has: text areas keep what they came with.
  const base = Object.fromEntries(files.editable().map((path) => [path, files.area(path).defaultValue]));
  let sent = base;
  let timer = 0;

  const keep = () => attempt(() => {
    clearTimeout(timer);
    const texts = files.texts();
    if (same(texts, sent)) localStorage.removeItem(own);
    else localStorage.setItem(own, JSON.stringify({ texts, base: sent, at: Date.now() }));
  });

  const begin = () => {
    const mine = read(own);
    if (mine && !same(mine.texts, base)) {
      take(mine.texts);
      if (!same(mine.base, base)) offer(base, "You ran this step with a different text in the meantime, perhaps in another tab.");
      return;
    }
    const [latest] = all().filter((name) => name.startsWith(ofSeat(lesson)) && name !== own).map(read)
      .filter((each) => each && !same(each.texts, base)).sort((one, other) => other.at - one.at);
    if (latest) offer(latest.texts, "This browser has a different text for this step that you haven’t run.");
  };

  attempt(() => {
    for (const name of all()) if (Date.now() - (read(name)?.at ?? 0) > MONTH) localStorage.removeItem(name);
  });
  begin();

  document.addEventListener("bench:edit", () => {
    clearTimeout(timer);
    timer = setTimeout(keep, 250);
  });
  addEventListener("pagehide", () => timer && keep());
  document.addEventListener("htmx:after:request", ({ detail }) => {
    if (detail.ctx?.sourceElement !== form || !detail.ctx.response?.raw?.ok) return;
    sent = posted ?? sent;
    keep();
  });
  let posted = null;
  form.addEventListener("submit", () => { posted = files.texts(); keep(); });
  addEventListener("storage", (event) => {
    if (!event.key?.startsWith(ofSeat(lesson)) || event.key === own || !event.newValue) return;
    const other = read(event.key);
    // News of a text that was found at the start may come later: that offer stands, in its words.
    const known = (texts) => texts && same(other.texts, texts);
    if (other && !known(files.texts()) && !known(offered)) offer(other.texts, "This step is open in another tab with a newer text.");
  });
  document.addEventListener("click", ({ target }) => {
    if (target.closest?.("[data-take]") && offered) {
      const before = files.texts();
      take(offered);
      offer(before, "You are now editing the other text.");
      const back = document.querySelector("#draft [data-take]");
      back.textContent = "Go back to mine";
      back.focus();
    } else if (target.closest?.("[data-keep]")) {
      withdraw();
      files.focus();
    }
  });
};

document.addEventListener("submit", ({ target }) => {
  if (target.dataset?.carry) attempt(() => localStorage.removeItem(key(target.dataset.carry)));
  if (!target.action?.endsWith?.("/forget")) return;
  const isOwn = (name) => name.includes(`:${SEAT}.`) || /:[\d-]+$/.test(name);
  attempt(() => all().filter(isOwn).forEach((name) => { localStorage.removeItem(name); }));
});

if (form) start(form.dataset.draft);
