// What the compiler said, in the editor at its place, and its own fixes at one click.
//   data-diagnostic    on an entry of the list: its level
//   data-spans         the places it is about; data-text: rustc's own words
//   data-fix           on a button: the texts to write, and where; all of them or none
//   data-file          on a link, with data-line and data-column: a place to go to
import * as cm from "./codemirror.js";
import { Origin } from "./editor.js";
import * as files from "./files.js";
import { setting } from "./settings.js";

const KINDS = { error: "error", warning: "warning" };
// The texts that the compiler read, as far as we know them: only for those do its lines and columns hold.
let read = null;
const marked = new Set();
let pending = [];

// The first words of each message beside its line, unless the reader has switched that off.
//   data-lens          on a line of the editor: the message
const setLens = cm.StateEffect.define();
const lens = cm.StateField.define({
  create: () => cm.Decoration.none,
  update: (marks, { changes, effects }) => {
    const set = effects.find((effect) => effect.is(setLens));
    return set ? set.value : marks.map(changes);
  },
  provide: (field) => cm.EditorView.decorations.from(field),
});

const showLens = (view) => {
  const lines = new Map();
  cm.forEachDiagnostic(view.state, (each, from) => {
    const { from: at } = view.state.doc.lineAt(from);
    if (each.severity !== "info" && !lines.has(at)) lines.set(at, each);
  });
  const marks = [...lines].sort(([one], [other]) => one - other).map(([at, { message, severity }]) =>
    cm.Decoration.line({ attributes: { "data-lens": message.split("\n")[0], "data-severity": severity } }).range(at));
  view.dispatch({ effects: setLens.of(cm.Decoration.set(marks)) });
};

setting("lens", (on) => document.documentElement.toggleAttribute("data-no-lens", !on));

const panel = () => document.getElementById("run");

const words = (text) => {
  const box = document.createElement("pre");
  box.textContent = text.trimEnd();
  return box;
};

const at = (text, span) => {
  const from = files.offset(text, span.line, span.column);
  return { from, to: Math.max(from, files.offset(text, span.end_line, span.end_column)) };
};

const usable = (edits) => edits.every(({ file }) => read?.[file] !== undefined && files.text(file) === read[file]);

const apply = (fix) => {
  const { file: first, to: place } = fix.edits[0];
  let after = place;
  for (const file of new Set(fix.edits.map((edit) => edit.file))) {
    const edits = fix.edits.filter((edit) => edit.file === file);
    const view = files.view(file);
    const change = view.state.changes(edits.map(({ from, to, text }) => ({ from, to, insert: text })));
    if (file === first) after = change.mapPos(place, 1);
    for (const other of pending) {
      for (const edit of other.edits) {
        if (edit.file === file && other !== fix) [edit.from, edit.to] = [change.mapPos(edit.from, 1), change.mapPos(edit.to, 1)];
      }
    }
    view.dispatch({ changes: change, annotations: Origin.of("fix"), userEvent: "input.fix" });
    const rest = [];
    cm.forEachDiagnostic(view.state, (each, from, to) => each.entry === fix.entry || rest.push({ ...each, from, to }));
    view.dispatch(cm.setDiagnostics(view.state, rest));
    showLens(view);
  }
  pending = pending.filter((other) => other.entry !== fix.entry);
  fix.button.disabled = true;
  fix.button.textContent = "Applied";
  document.dispatchEvent(new CustomEvent("bench:show", { detail: "code" }));
  // The button that was pressed is of no use any more: the reader goes on behind what was changed.
  files.show(first);
  files.view(first).jump(after);
};

const fixesOf = (entry) =>
  [...entry.querySelectorAll("[data-fix]")].flatMap((button) => {
    const edits = JSON.parse(button.dataset.fix).map((edit) => ({ ...edit, ...at(read?.[edit.file] ?? "", edit) }));
    if (!usable(edits)) return [];
    button.hidden = false;
    const fix = { entry, button, edits };
    pending.push(fix);
    button.addEventListener("click", () => apply(fix));
    return [fix];
  });

const mark = (entry) => {
  const fixes = fixesOf(entry);
  const seen = new Map();
  for (const span of JSON.parse(entry.dataset.spans)) {
    const text = files.text(span.file);
    if (!files.view(span.file) || read?.[span.file] !== text) continue;
    const actions = span.primary
      ? fixes.map((fix) => ({ name: fix.button.parentElement.lastChild.textContent.trim(), apply: () => apply(fix) }))
      : [];
    const found = {
      ...at(text, span), entry, actions, severity: span.primary ? (KINDS[entry.dataset.diagnostic] ?? "error") : "info",
      message: span.primary ? entry.dataset.text : (span.label ?? entry.dataset.text),
      renderMessage: () => words(span.primary ? entry.dataset.text : (span.label ?? entry.dataset.text)),
    };
    seen.set(span.file, [...(seen.get(span.file) ?? []), found]);
  }
  for (const [file, found] of seen) {
    const view = files.view(file);
    const all = [];
    cm.forEachDiagnostic(view.state, (each, from, to) => all.push({ ...each, from, to }));
    view.dispatch(cm.setDiagnostics(view.state, [...all, ...found]));
    showLens(view);
    marked.add(file);
  }
};

const look = () => {
  for (const entry of document.querySelectorAll("[data-diagnostic]:not([data-marked])")) {
    entry.dataset.marked = "";
    if (read) mark(entry);
  }
};

const clear = (path) => {
  if (!marked.delete(path)) return;
  const view = files.view(path);
  view.dispatch(cm.setDiagnostics(view.state, []));
  showLens(view);
};

const clearAll = () => {
  for (const path of [...marked]) clear(path);
  pending = [];
};

// The words at the cursor stand below the editor, for a reader who points with the keyboard.
const tell = (path) => {
  const view = files.view(path);
  const place = view.dom.parentElement.querySelector(".said");
  const { head } = view.state.selection.main;
  const said = [];
  cm.forEachDiagnostic(view.state, (each, from, to) => {
    if (from <= head && head <= Math.max(to, from + 1) && each.severity !== "info") said.push(each.message);
  });
  const text = said.join("\n");
  if (place.textContent !== text) place.textContent = text;
};

for (const path of files.paths()) {
  const place = document.createElement("pre");
  place.className = "said";
  place.setAttribute("role", "status");
  files.view(path).dom.after(place);
  files.view(path).dispatch({
    effects: cm.StateEffect.appendConfig.of([
      lens,
      cm.EditorView.updateListener.of((update) => {
        if (update.selectionSet || update.transactions.some(({ effects }) => effects.length)) tell(path);
      }),
    ]),
  });
}

document.addEventListener("bench:edit", ({ detail }) => {
  if (detail.how === "fix") return;
  // Not within the update of the editor that tells of the edit.
  queueMicrotask(() => {
    clear(detail.path);
    for (const fix of pending) if (fix.edits.some(({ file }) => file === detail.path)) fix.button.disabled = true;
    pending = pending.filter((fix) => !fix.button.disabled);
  });
});

document.addEventListener("submit", ({ target }) => {
  if (!target.matches("[data-editor]")) return;
  clearAll();
  read = files.everything();
}, true);

document.addEventListener("htmx:after:swap", look);

// A page that comes with a run shows the texts of that run, unless they were changed in between.
if (panel()?.hasAttribute("data-same-files")) {
  read = Object.fromEntries(files.paths().map((path) => [path, files.area(path).defaultValue]));
}
look();
