// Bundles the editor into static/vendor: `npm ci --ignore-scripts && npm run build`; `npm run check` only compares.
// A file's name holds the version of @codemirror/view and a hash of the file: browsers keep it for a year.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const vendor = join(here, "../../static/vendor");
const sources = ["package.json", "package-lock.json", "build.mjs", "codemirror.js", "vim.js"];

const sha256 = (data) => createHash("sha256").update(data).digest("hex");
const version = (name) => JSON.parse(readFileSync(join(here, "node_modules", name, "package.json"))).version;

const bundle = async (entry, name, shared) => {
  // Vim's keys import the editor that is there already, not a second one.
  const core = { name: "core", setup: (esbuild) => {
    if (shared) esbuild.onResolve({ filter: /^@codemirror\// }, () => ({ path: `./${shared}`, external: true }));
  } };
  const { outputFiles, metafile } = await build({
    entryPoints: [join(here, entry)], absWorkingDir: here, plugins: [core], bundle: true, minify: true, write: false,
    format: "esm", target: "es2022", legalComments: "none", metafile: true,
  });
  const text = outputFiles[0].contents;
  return { name: `${name}-${sha256(text).slice(0, 8)}.min.js`, text, inputs: Object.keys(metafile.inputs) };
};

// Any earlier name of the file.
const likeness = (name) => new RegExp(name.replace(/-[\d.]+\d(-[0-9a-f]{8})?\./, (_, hash) => `-[\\d.]+\\d${hash ? "-[0-9a-f]{8}" : ""}\\.`), "g");

const licences = (inputs) => {
  const packages = [...new Set(inputs.map((path) => path.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1]).filter(Boolean))];
  return packages.sort().map((name) => {
    const folder = join(here, "node_modules", name);
    const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
    const text = file ? readFileSync(join(folder, file), "utf8") : readFileSync(join(folder, "package.json"), "utf8").match(/"license".*/)[0];
    return `${name} ${version(name)}\n\n${text.trim()}\n`;
  }).join(`\n${"-".repeat(80)}\n\n`);
};

const editor = await bundle("codemirror.js", `codemirror-${version("@codemirror/view")}`);
const vim = await bundle("vim.js", `codemirror-vim-${version("@replit/codemirror-vim")}`, editor.name);
const terms = {
  name: `codemirror-${version("@codemirror/view")}.LICENSE.txt`,
  text: Buffer.from(licences([...editor.inputs, ...vim.inputs])),
};
const files = [editor, vim, terms];
const record = [
  ...sources.map((name) => [sha256(readFileSync(join(here, name))), name]),
  ...files.map(({ name, text }) => [sha256(text), `../../static/vendor/${name}`]),
].map(([digest, name]) => `${digest}  ${name}\n`).join("");

if (process.argv.includes("--check")) {
  const other = files.filter(({ name, text }) => !existsSync(join(vendor, name)) || !readFileSync(join(vendor, name)).equals(text));
  if (other.length || readFileSync(join(here, "SHA256SUMS"), "utf8") !== record) {
    console.error(`Not what the lock file makes: ${other.map(({ name }) => name).join(", ") || "SHA256SUMS"}. Run: npm run build`);
    process.exit(1);
  }
} else {
  const sums = join(vendor, "SHA256SUMS");
  const kept = readFileSync(sums, "utf8").split("\n").filter((line) => line && !/\s+codemirror-/.test(line));
  for (const name of readdirSync(vendor)) if (name.startsWith("codemirror-")) rmSync(join(vendor, name));
  for (const { name, text } of files) writeFileSync(join(vendor, name), text);
  const lines = [...kept, ...files.map(({ name, text }) => `${sha256(text)}  ${name}`)];
  writeFileSync(sums, `${lines.sort((a, b) => a.slice(66).localeCompare(b.slice(66))).join("\n")}\n`);
  writeFileSync(join(here, "SHA256SUMS"), record);
  // Where the files are named: the module that imports them, and the list of what is vendored.
  for (const path of ["../../static/js/codemirror.js", "../../static/vendor/README.md"]) {
    const text = readFileSync(join(here, path), "utf8");
    const renamed = files.reduce((all, { name }) => all.replaceAll(likeness(name), name), text);
    writeFileSync(join(here, path), renamed);
  }
  for (const { name, text } of files) console.log(name, text.length);
}
