// The keys of the stepper: a link with data-step-key is followed when that key is pressed.
//   data-steps      the stepper: it gets the focus after each step, so that the next key reaches it

const stepper = () => document.querySelector("[data-steps]");

document.addEventListener("keydown", (event) => {
  const shown = stepper();
  if (!shown || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  // Where nobody types, and on the page of the stepper anywhere.
  if (!shown.contains(event.target) && event.target !== document.body) return;
  const link = shown.querySelector(`[data-step-key="${CSS.escape(event.key)}"]`);
  if (!link) return;
  event.preventDefault();
  link.click();
});

// A step takes the link away that was clicked; a reader who steps by key or from a link goes on from the new one.
document.addEventListener("htmx:after:swap", () => {
  const shown = stepper();
  if (document.activeElement === document.body) shown?.focus({ preventScroll: true });
  if (shown && !("seen" in shown.dataset)) {
    shown.dataset.seen = "";
    // One that is higher than its pane begins at the top, where its instruction is.
    const room = Math.min(innerHeight, shown.closest("#run-artifact")?.clientHeight ?? innerHeight);
    shown.scrollIntoView({ block: shown.offsetHeight > room ? "start" : "nearest" });
  }
});
