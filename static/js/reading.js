// What can be done with the text of a lesson.
//   data-copies        copies the code of its block
//   data-expects       a folded quotation: it opens when the command it is of has been run
// On a narrow page a command that is run from the text shows its results below it, not in another view.

const results = document.querySelector(".results");
const bench = results?.parentElement;
const wide = matchMedia("(min-width: 64rem)");

for (const button of document.querySelectorAll("[data-copies]")) button.hidden = !navigator.clipboard;

document.addEventListener("click", async ({ target }) => {
  const button = target.closest?.("[data-copies]");
  if (!button) return;
  await navigator.clipboard.writeText(button.closest(".code-block").querySelector("code").textContent.trimEnd());
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
});

const unfold = () => {
  const ran = document.getElementById("run-command")?.textContent.trim().replace(/^\$ /, "");
  const typed = document.getElementById("command")?.value.trim();
  if (!ran || !document.querySelector("#run-verdict > *")) return;
  for (const quotation of document.querySelectorAll("[data-expects]")) {
    if ([ran, typed].includes(quotation.dataset.expects)) quotation.open = true;
  }
};

document.addEventListener("run-done", unfold);
unfold();

const home = () => { if (results && results.parentElement !== bench) bench.append(results); };

document.addEventListener("submit", ({ target, submitter }) => {
  if (target.id !== "bench" || !results) return;
  const block = submitter?.closest(".code-block");
  if (block && submitter.name === "offered" && !wide.matches) block.after(results);
  else if (!submitter || submitter.matches("[data-run], .offered button")) home();
}, { capture: true });
wide.addEventListener("change", home);
document.addEventListener("change", ({ target }) => { if (target.name === "view" && target.value !== "text") home(); });
