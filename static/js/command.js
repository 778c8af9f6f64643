// The command line: it wraps what is long, and recalls what was run.
//   #command           an input, or without this script's help one line; here it becomes a text area of one paragraph
//   data-seat          on the body: a name for the seat, whose commands nobody else may recall
// ↑ and ↓ recall the commands of this step, as in a shell; what was typed and not run comes back behind the newest.

const KEY = `playground:commands:${document.body.dataset.seat}:${location.pathname}`;
const MOST = 50;

const field = () => document.getElementById("command");

const stored = () => {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? [];
  } catch {
    return [];
  }
};

let commands = stored();
let place = commands.length;
let typed = "";

// As many rows as the text takes.
const fit = (area) => {
  area.rows = 1;
  const style = getComputedStyle(area);
  const inner = area.scrollHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
  area.rows = Math.max(1, Math.round(inner / parseFloat(style.lineHeight)));
};

// A field that was hidden, or is another width now, takes another number of rows.
let width = 0;
const widths = new ResizeObserver(([{ target }]) => {
  if (target.clientWidth === width) return;
  width = target.clientWidth;
  fit(target);
});

const wrap = () => {
  const input = field();
  if (!input || input.tagName === "TEXTAREA") return;
  const area = document.createElement("textarea");
  for (const { name, value } of input.attributes) if (name !== "type" && name !== "value") area.setAttribute(name, value);
  area.value = area.defaultValue = input.value;
  area.rows = 1;
  const focused = document.activeElement === input;
  input.replaceWith(area);
  if (focused) area.focus();
  fit(area);
  widths.disconnect();
  widths.observe(area);
};

const put = (text) => {
  const area = field();
  area.value = text;
  area.setSelectionRange(text.length, text.length);
  fit(area);
};

const recall = (by) => {
  const to = place + by;
  if (to < 0 || to > commands.length) return;
  if (place === commands.length) typed = field().value;
  place = to;
  put(commands[place] ?? typed);
};

const ran = (command) => {
  if (command && commands.at(-1) !== command) commands = [...commands, command].slice(-MOST);
  place = commands.length;
  try {
    sessionStorage.setItem(KEY, JSON.stringify(commands));
  } catch {
    // They are recalled on this page only.
  }
};

document.addEventListener("keydown", (event) => {
  const area = field();
  if (event.target !== area || event.isComposing || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  // In a command of several lines the arrows move within it first.
  const first = !area.value.slice(0, area.selectionStart).trim() || area.selectionStart === area.value.length;
  if (event.key === "Enter") area.form.requestSubmit(area.form.querySelector("[data-run]"));
  else if (event.key === "ArrowUp" && first) recall(-1);
  else if (event.key === "ArrowDown" && area.selectionEnd === area.value.length) recall(1);
  else return;
  event.preventDefault();
});

document.addEventListener("input", ({ target }) => {
  if (target !== field() || target.tagName !== "TEXTAREA") return;
  // What is pasted may end with a line break; a command is one line.
  if (/[\r\n]/.test(target.value)) target.value = target.value.trim().replace(/\s*[\r\n]+\s*/g, " ");
  place = commands.length;
  fit(target);
});

document.addEventListener("submit", ({ target, submitter }) => {
  if (target.id === "bench" && (submitter?.name === "offered" || submitter?.matches("[data-run]") || !submitter)) {
    ran((submitter?.name === "offered" ? submitter.value : field().value).trim());
  }
}, { capture: true });

document.addEventListener("htmx:after:swap", wrap);
wrap();
