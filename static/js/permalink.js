// A link that carries the files in its fragment, which no server sees; and other ways to take the crate along.
//   data-permalink     copies such a link
//   data-brought       offers the files of the link that the page was opened with; nothing is replaced unasked
//   data-copy          a button that sends the form for a file: here it goes to the clipboard instead
//   data-plain         a button whose answer is a file: htmx lets it be
//   data-print         prints the page; data-prints: holds a text for print, by the name of its field
//   data-said          where it is said what was done

const MOST = 16 * 1024; // characters of the fragment
const MOST_TEXT = 256 * 1024; // what it may unfold to
const MARK = "#crate=";

const form = document.getElementById("bench");
const box = document.querySelector("[data-brought]");

const bytes = async (stream, most) => {
  const pieces = [];
  let size = 0;
  for (const reader = stream.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return new Blob(pieces);
    size += value.length;
    if (size > most) throw new RangeError("too large");
    pieces.push(value);
  }
};

const through = (blob, transform, most = Infinity) => bytes(blob.stream().pipeThrough(transform), most);

const pack = async (value) => {
  const blob = await through(new Blob([JSON.stringify(value)]), new CompressionStream("deflate-raw"));
  const raw = String.fromCharCode(...new Uint8Array(await blob.arrayBuffer()));
  return btoa(raw).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
};

const unpack = async (text) => {
  if (text.length > MOST) throw new RangeError("too large");
  const raw = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const blob = new Blob([Uint8Array.from(raw, (each) => each.charCodeAt(0))]);
  return JSON.parse(await (await through(blob, new DecompressionStream("deflate-raw"), MOST_TEXT)).text());
};

const fields = () => [...form.elements].filter(({ name }) => name.startsWith("file:"));
const say = (words) => document.querySelector("[data-said]")?.replaceChildren(words);

const copy = async (text, words) => {
  try {
    await navigator.clipboard.writeText(text);
    say(words);
    return true;
  } catch {
    return false; // no clipboard here, or none that a page may use
  }
};

const share = async () => {
  const files = Object.fromEntries(fields().map(({ name, value }) => [name.slice(5), value]));
  const link = MARK + (await pack({ files, command: form.elements.command.value }));
  if (link.length > MOST) {
    say("These files are too long for a link. Download the zip instead.");
    return;
  }
  const address = location.origin + location.pathname.replace(/(\/lessons\/[^/]+)\/.*/, "$1") + link;
  if (await copy(address, "Link copied to the clipboard.")) return;
  history.replaceState(null, "", link);
  say("The link is in the address bar.");
};

const leave = () => {
  box.hidden = true;
  box.querySelector("[data-taken]").replaceChildren();
  if (location.hash.startsWith(MARK)) history.replaceState(null, "", location.pathname + location.search);
};

const hidden = (name, value) => {
  const input = document.createElement("textarea");
  Object.assign(input, { name, value, hidden: true });
  return input;
};

const brought = async () => {
  if (!location.hash.startsWith(MARK)) return;
  let files;
  let command;
  try {
    ({ files, command } = await unpack(location.hash.slice(MARK.length)));
    const known = fields().map(({ name }) => name.slice(5));
    files = Object.entries(files).filter(([path, text]) => known.includes(path) && typeof text === "string");
  } catch {
    say("This link is damaged, so its files can’t be read.");
    document.querySelector(".leaving").open = true;
    return;
  }
  const news = files.filter(([path, text]) => form.elements.namedItem(`file:${path}`).value !== text);
  if (typeof command === "string" && command.length <= 1000) box.dataset.command = command;
  if (!news.length) return leave();
  box.querySelector("[data-brought-files]").replaceChildren(
    ...news.map(([path, text]) => {
      const item = document.createElement("li");
      const name = document.createElement("code");
      name.textContent = path;
      item.append(name, `, ${text.split("\n").length - 1} lines`);
      return item;
    }),
  );
  box.querySelector("[data-taken]").replaceChildren(...news.map(([path, text]) => hidden(`taken:${path}`, text)));
  box.hidden = false;
  box.scrollIntoView({ block: "nearest" });
  box.focus({ preventScroll: true });
};

if (form) {
  for (const each of document.querySelectorAll("[data-print], [data-permalink]")) {
    each.hidden = "permalink" in each.dataset && !("CompressionStream" in window);
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button");
    if (!button) return;
    if ("permalink" in button.dataset) await share();
    if ("print" in button.dataset) print();
    if ("leave" in button.dataset) leave();
  });
  document.addEventListener("texts-given", () => {
    if (box.hidden) return;
    if (box.dataset.command) form.elements.command.value = box.dataset.command;
    leave();
  });
  document.addEventListener("submit", async (event) => {
    const button = event.submitter;
    if (!button || !("plain" in button.dataset)) return;
    event.stopImmediatePropagation();
    if (!("copy" in button.dataset) || !navigator.clipboard) return;
    event.preventDefault();
    const answer = await fetch(button.formAction, { method: "POST", body: new FormData(form) });
    const text = await answer.text();
    if (!answer.ok) say(new DOMParser().parseFromString(text, "text/html").body.textContent.trim());
    else if (!(await copy(text, `Copied the ${button.dataset.copy} to the clipboard.`))) {
      button.removeAttribute("data-copy");
      button.click();
    }
  }, { capture: true });
  addEventListener("beforeprint", () => {
    for (const text of document.querySelectorAll("[data-prints]")) {
      text.textContent = form.elements.namedItem(text.dataset.prints)?.value ?? text.textContent;
    }
    for (const text of document.querySelectorAll("[data-prints-command]")) text.textContent = form.elements.command.value;
  });
  addEventListener("hashchange", brought);
  brought();
}
