// What the lesson page uses of CodeMirror, and what its Vim keys need of it beside that.
export { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
export {
  cursorCharBackward, cursorCharLeft, cursorLineBoundaryBackward, cursorLineBoundaryForward, indentLess, indentMore,
  indentSelection, insertNewlineAndIndent, redo, toggleLineComment, undo,
} from "@codemirror/commands";
export { rust } from "@codemirror/lang-rust";
export {
  bracketMatching, ensureSyntaxTree, foldCode, HighlightStyle, indentOnInput, indentUnit, matchBrackets,
  StreamLanguage, StringStream, syntaxHighlighting,
} from "@codemirror/language";
export { toml } from "@codemirror/legacy-modes/mode/toml";
export { forEachDiagnostic, lintGutter, lintKeymap, setDiagnostics } from "@codemirror/lint";
export { highlightSelectionMatches, RegExpCursor, search, searchKeymap, SearchQuery, setSearchQuery } from "@codemirror/search";
export {
  Annotation, Compartment, EditorSelection, EditorState, MapMode, Prec, RangeSetBuilder, StateEffect, StateField,
  Transaction,
} from "@codemirror/state";
export {
  Decoration, Direction, drawSelection, EditorView, getDrawSelectionConfig, highlightActiveLine,
  highlightActiveLineGutter, highlightSpecialChars, keymap, lineNumbers, runScopeHandlers, showPanel, ViewPlugin,
} from "@codemirror/view";
export { tags } from "@lezer/highlight";
