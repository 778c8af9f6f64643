// CodeMirror over the text areas of a form with data-editor; they stay the form's fields and always hold the text.
//   data-editor        on the form: the page's nonce for the editor's own style sheet
//   data-setting=vim   Vim keys, as settings.js keeps them
import * as cm from "./codemirror.js";
import * as files from "./files.js";
import { setting } from "./settings.js";

const { tags } = cm;
const form = document.querySelector("form[data-editor]");
const vimKeys = new cm.Compartment();
let vim = [];

// A change that is no edit of the reader's: a text from elsewhere, or a fix of the compiler's.
export const Origin = cm.Annotation.define();

const colours = cm.HighlightStyle.define([
  { tag: tags.comment, class: "tok-comment" },
  { tag: [tags.keyword, tags.controlKeyword, tags.moduleKeyword, tags.definitionKeyword, tags.modifier, tags.self], class: "tok-keyword" },
  { tag: [tags.string, tags.character, tags.special(tags.string), tags.escape], class: "tok-string" },
  { tag: [tags.number, tags.bool, tags.atom], class: "tok-number" },
  { tag: [tags.typeName, tags.className, tags.namespace], class: "tok-type" },
  { tag: [tags.macroName, tags.meta, tags.annotation, tags.special(tags.variableName)], class: "tok-macro" },
  { tag: [tags.function(tags.variableName), tags.function(tags.propertyName), tags.definition(tags.variableName)], class: "tok-name" },
  { tag: [tags.propertyName, tags.heading, tags.labelName], class: "tok-property" },
]);

// The grammar gives an attribute of the whole crate, `#![…]`, no colour of its own.
const inner = cm.Decoration.mark({ class: "tok-macro" });
const innerAttributes = cm.ViewPlugin.fromClass(
  class {
    constructor(view) { this.colour(view); }
    // The first look may be too early, before the text is parsed or has a place on the page.
    update(update) { if (update.docChanged || update.viewportChanged || !this.complete) this.colour(update.view); }
    colour({ state, visibleRanges }) {
      const found = new cm.RangeSetBuilder();
      this.complete = visibleRanges.length > 0;
      for (const { from, to } of visibleRanges) {
        const tree = cm.ensureSyntaxTree(state, to, 50);
        tree?.iterate({ from, to, enter: (node) => { if (node.name === "InnerAttribute") found.add(node.from, node.to, inner); } });
        this.complete &&= Boolean(tree);
      }
      this.decorations = found.finish();
    }
  },
  { decorations: (plugin) => plugin.decorations },
);

const language = (path) => {
  if (path.endsWith(".rs")) return [cm.rust(), innerAttributes, cm.indentUnit.of("    ")];
  if (path.endsWith(".toml")) return [cm.StreamLanguage.define(cm.toml), cm.indentUnit.of("    ")];
  return [];
};

const mirrored = (path, area) =>
  cm.EditorView.updateListener.of((update) => {
    if (!update.docChanged) return;
    area.value = update.state.doc.toString();
    files.edited(path, update.transactions.map((each) => each.annotation(Origin)).find(Boolean) ?? "input");
  });

// Where a selection is typed over, Chromium writes its colours into a style attribute, which the page's policy forbids.
const typedOver = cm.EditorView.domEventHandlers({
  beforeinput: (event, view) => {
    const typed = event.inputType === "insertText" && typeof event.data === "string" && !view.composing;
    // The page's selection may be a moment ahead of the editor's.
    const { rangeCount, isCollapsed, anchorNode, anchorOffset, focusNode, focusOffset } = document.getSelection();
    if (!typed || !rangeCount || isCollapsed || view.state.readOnly) return false;
    event.preventDefault();
    const ends = [view.posAtDOM(anchorNode, anchorOffset), view.posAtDOM(focusNode, focusOffset)];
    const [from, to] = ends.sort((one, other) => one - other);
    view.dispatch({
      changes: { from, to, insert: view.state.toText(event.data) }, selection: { anchor: from + event.data.length },
      userEvent: "input.type", scrollIntoView: true,
    });
    return true;
  },
});

// On a narrow page the switch between text, code and result covers what is scrolled below it.
const switched = () => ({ top: document.querySelector("[data-views]")?.offsetHeight ?? 0 });

// A run moves a page that scrolls to its result. A key in the editor leads back, wherever its cursor is.
const back = cm.EditorView.domEventHandlers({
  keydown: (event, view) => {
    const { top, bottom } = view.dom.getBoundingClientRect();
    if (!event.ctrlKey && !event.metaKey && (bottom < switched().top || top > innerHeight)) files.reveal();
    return false;
  },
});

const extensions = (path, area) => [
  back, // before the keys, which end with the first handler that knows one
  vimKeys.of(vim),
  cm.EditorView.cspNonce.of(form.dataset.editor),
  cm.EditorState.readOnly.of(area.readOnly),
  cm.EditorState.tabSize.of(4),
  cm.EditorView.contentAttributes.of({
    "aria-label": area.getAttribute("aria-label"), autocapitalize: "off", autocorrect: "off", spellcheck: "false",
    translate: "no", "data-path": path, tabindex: "0",
  }),
  cm.lineNumbers(),
  cm.highlightSpecialChars(),
  cm.history(),
  cm.drawSelection(),
  cm.indentOnInput(),
  cm.bracketMatching(),
  cm.highlightActiveLine(),
  cm.highlightActiveLineGutter(),
  cm.highlightSelectionMatches(),
  cm.search({ top: true }),
  cm.syntaxHighlighting(colours),
  language(path),
  cm.keymap.of([
    // Running is the page's own key.
    ...cm.defaultKeymap.filter(({ key }) => key !== "Mod-Enter"), ...cm.historyKeymap, ...cm.searchKeymap,
    ...cm.lintKeymap, cm.indentWithTab,
  ]),
  cm.EditorView.scrollMargins.of(switched),
  typedOver,
  mirrored(path, area),
];

// The smallest change that makes the one text the other: the cursor and the undo history stay of use.
const difference = (before, after) => {
  const most = Math.min(before.length, after.length);
  let from = 0;
  while (from < most && before[from] === after[from]) from += 1;
  let tail = 0;
  while (tail < most - from && before.at(-1 - tail) === after.at(-1 - tail)) tail += 1;
  return { from, to: before.length - tail, insert: after.slice(from, after.length - tail) };
};

const open = (path, area) => {
  const view = new cm.EditorView({
    state: cm.EditorState.create({ doc: area.value, extensions: extensions(path, area) }),
  });
  view.jump = (at) => {
    view.dispatch({ selection: { anchor: at }, effects: cm.EditorView.scrollIntoView(at, { y: "center" }) });
    view.focus();
  };
  const busy = document.activeElement === area && area.selectionStart;
  area.after(view.dom);
  area.hidden = true;
  files.attach(path, view);
  if (busy !== false) view.jump(Math.min(busy, view.state.doc.length));
  area.addEventListener("input", () => {
    const before = view.state.doc.toString();
    if (before === area.value) return;
    view.dispatch({ changes: difference(before, area.value), annotations: Origin.of("put"), userEvent: "input.put" });
  });
};

setting("vim", async (on) => {
  vim = on ? (await cm.loadVim())() : [];
  for (const path of files.paths()) files.view(path)?.dispatch({ effects: vimKeys.reconfigure(vim) });
});

if (form) {
  for (const path of files.paths()) open(path, files.area(path));
  form.dataset.ready = "";
  document.dispatchEvent(new CustomEvent("bench:ready"));
}
