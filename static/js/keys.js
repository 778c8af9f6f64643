// The keyboard. What a key does hangs on the elements themselves:
//   data-key=NAME      what a letter below clicks: next, previous, hint; the first visible element of the name counts
//   data-run-key       on the form: Ctrl or Cmd with this key runs it
//   data-keys          the list of keys, a dialog; data-keys-rows: where its rows go
//   data-setting=keys  single keys can be switched off
//   data-reading       the text, where it scrolls apart from the page
import * as files from "./files.js";
import { setting } from "./settings.js";

let single = true;
setting("keys", (on) => { single = on; });

const list = document.querySelector("dialog[data-keys]");
const typing = (target) => target.closest?.("input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable=true], dialog[open]");
const cancelButton = () => document.querySelector("#run-cancel button:not([disabled])");

const usable = (element) => element.checkVisibility?.() ?? element.getClientRects().length > 0;

const NAMES = { n: ["next", "next step"], p: ["previous", "previous step"], h: ["hint", "show a hint"] };

const holder = (name) => [...document.querySelectorAll(`[data-key="${name}"]`)].find(usable);

const press = (name) => {
  if (name === "hint") show("text");
  holder(name)?.click();
};

const show = (what) => document.dispatchEvent(new CustomEvent("bench:show", { detail: what }));

const rows = () => {
  const mod = /Mac|iP/.test(navigator.platform) ? "⌘" : "Ctrl";
  const fixed = [[`${mod} + Enter`, "run"], [`${mod} + .`, "cancel the run"], ["Esc", "cancel the run (outside the editor)"], ["Esc, then Tab", "leave the editor"], ["e", "go to the editor"], ["o", "go to the terminal"]];
  const letters = Object.entries(NAMES).filter(([, [name]]) => document.querySelector(`[data-key="${name}"]`));
  return [...fixed, ...letters.map(([key, [, says]]) => [key, says]), ["?", "show this list"]];
};

const help = () => {
  list.querySelector("[data-keys-rows]").replaceChildren(...rows().flatMap(([key, says]) => {
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    const cap = document.createElement("kbd");
    cap.textContent = key;
    term.append(cap);
    text.textContent = says;
    return [term, text];
  }));
  list.showModal();
};

const own = {
  e: () => { show("code"); files.focus(); },
  o: () => { show("result"); document.getElementById("pane-terminal")?.click(); document.getElementById("run-output")?.focus(); },
  "?": () => list && help(),
};

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing) return;
  const modified = event.ctrlKey || event.metaKey;
  const form = event.target.closest?.("[data-run-key]") ?? document.querySelector("[data-run-key]");
  if (modified && form?.dataset.runKey === event.key) {
    event.preventDefault();
    form.requestSubmit(form.querySelector("[data-run]"));
    return;
  }
  const stop = (modified && event.key === ".") || (event.key === "Escape" && !event.target.closest?.(".cm-editor, textarea, dialog[open]"));
  if (stop && cancelButton()) {
    event.preventDefault();
    cancelButton().click();
    return;
  }
  if (modified || event.altKey || !single || typing(event.target)) return;
  const action = own[event.key] ?? (NAMES[event.key] && (() => press(NAMES[event.key][0])));
  if (!action) return;
  event.preventDefault();
  action();
});

// Where only the text scrolls, and not the page, the keys that scroll a page move the text.
const PAGES = { PageDown: 0.9, " ": 0.9, PageUp: -0.9, ArrowDown: 0.08, ArrowUp: -0.08, Home: -Infinity, End: Infinity };
document.addEventListener("keydown", (event) => {
  const text = document.querySelector("[data-reading]");
  const by = PAGES[event.key];
  if (!text || by === undefined || event.defaultPrevented || event.target !== document.body) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || text.scrollHeight <= text.clientHeight) return;
  event.preventDefault();
  const most = text.scrollHeight;
  text.scrollBy({ top: Math.min(most, Math.max(-most, by * text.clientHeight)) });
});

document.addEventListener("click", ({ target }) => {
  if (target.closest?.("[data-keys-open]")) help();
});

for (const opener of document.querySelectorAll("[data-keys-open]")) opener.hidden = false;
