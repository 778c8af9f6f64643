// On a narrow page one of text, code and result is shown at a time; CSS does it, this keeps the choice fitting.
//   data-views         holds the radio buttons; their values are text, code and result
//   data-show          on a button of the text: the view in which is seen what it does
//   data-opens         on what comes into the results: the pane that then opens, because the step is about it
// `bench:show` on the document, detail: one of the values, brings it to the front.

const pane = (name) => {
  const radio = document.getElementById(`pane-${name}`);
  if (radio) radio.checked = true;
};

let run = document.getElementById("run");

const open = () => {
  const now = document.getElementById("run");
  if (now !== run) pane("terminal"); // A run begins.
  run = now;
  for (const each of document.querySelectorAll("[data-opens]")) {
    pane(each.dataset.opens);
    each.removeAttribute("data-opens");
  }
};

document.addEventListener("htmx:after:swap", open);
open();

const buttons = () => [...document.querySelectorAll("[data-views] input")];
const KEY = `playground:view:${location.pathname}`;

const choose = (value) => {
  const button = buttons().find((each) => each.value === value);
  if (!button) return;
  button.checked = true;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // It holds for this page.
  }
};

document.addEventListener("bench:show", ({ detail }) => choose(detail));
document.addEventListener("submit", ({ target }) => {
  // Where the result stands below the code, it is in view already.
  if (target.id === "bench" && !document.getElementById("run").checkVisibility()) choose("result");
});
document.addEventListener("click", ({ target }) => {
  const button = target.closest?.("[data-show]");
  if (!button) return;
  choose(button.dataset.show);
  // Only on a narrow page the button goes out of sight with the text; its reader goes on from the switch.
  if (!button.checkVisibility()) document.querySelector("[data-views] input:checked").focus();
});
for (const button of buttons()) button.addEventListener("change", () => choose(button.value));
try {
  if (!location.hash) choose(sessionStorage.getItem(KEY));
} catch {
  // The page's own choice stands.
}
