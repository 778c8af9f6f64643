// The texts of the crate's files, by their paths: in an editor when there is one, else in the text area.
//   data-path          on a text area: the file it holds
// Code that writes into a text area dispatches an `input` event; the editor then takes the text over, undo included.
// `bench:edit` on the document says that a text is another one now; detail: {path, how}.

const areas = new Map();
const views = new Map();

for (const area of document.querySelectorAll("textarea[data-path]")) areas.set(area.dataset.path, area);

export const paths = () => [...areas.keys()];
export const editable = () => paths().filter((path) => !areas.get(path).readOnly);
export const area = (path) => areas.get(path);
export const view = (path) => views.get(path);
export const text = (path) => areas.get(path)?.value;

export const texts = () => Object.fromEntries(editable().map((path) => [path, text(path)]));

// Also those that cannot be edited.
export const everything = () => Object.fromEntries(paths().map((path) => [path, text(path)]));

export const put = (path, value) => {
  const target = areas.get(path);
  if (!target || target.readOnly || target.value === value) return;
  target.value = value;
  target.dispatchEvent(new Event("input", { bubbles: true }));
};

export const attach = (path, editor) => views.set(path, editor);

export const edited = (path, how) => document.dispatchEvent(new CustomEvent("bench:edit", { detail: { path, how } }));

document.addEventListener("input", ({ target }) => {
  if (target.dataset?.path && !views.has(target.dataset.path)) edited(target.dataset.path, "input");
});

// Lines and columns count from 1; columns count characters, as rustc does, not JavaScript's units.
export const offset = (value, line, column) => {
  let start = 0;
  for (let number = 1; number < line; number += 1) {
    const end = value.indexOf("\n", start);
    if (end < 0) return value.length;
    start = end + 1;
  }
  const end = value.indexOf("\n", start);
  const row = value.slice(start, end < 0 ? value.length : end);
  return start + [...row].slice(0, column - 1).join("").length;
};

export const show = (path) => {
  const tab = [...document.querySelectorAll(".tab")].find(({ value }) => value === path);
  if (tab && !tab.checked) {
    tab.checked = true;
    tab.dispatchEvent(new Event("change", { bubbles: true }));
  }
};

export const shown = () => document.querySelector(".tab:checked")?.value ?? paths()[0];

export const reveal = () => areas.get(paths()[0])?.closest("fieldset").scrollIntoView({ block: "nearest" });

export const focus = (path = shown()) => {
  (views.get(path) ?? areas.get(path))?.focus();
  reveal(); // An editor takes the focus without coming into view.
};

// Show a place and put the cursor there.
export const jump = (path, line, column = 1) => {
  const target = areas.get(path);
  if (!target) return false;
  show(path);
  document.dispatchEvent(new CustomEvent("bench:show", { detail: "code" }));
  const at = offset(target.value, line, column);
  const editor = views.get(path);
  if (editor) editor.jump(at);
  else {
    target.focus();
    target.setSelectionRange(at, at);
    target.scrollTop = (line - 4) * parseFloat(getComputedStyle(target).lineHeight);
  }
  return true;
};
