// The one place that names the vendored editor; tools/editor/build.mjs writes the names anew.
export * from "../vendor/codemirror-6.43.15-6dbb7f79.min.js";

export const loadVim = async () => (await import("../vendor/codemirror-vim-6.4.0-411fdf34.min.js")).vim;
