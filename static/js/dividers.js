// The dividers of the workspace: between text and bench, and between editor and results.
//   data-divider=NAME  on a separator: what comes before it is NAME's share of its container, in percent
// Drag it, or focus it and press arrow keys, Home or End; a double click or Enter restores the default. Each share is
// kept in this browser; early.js applies it before the next page is painted.

const KEY = "playground:dividers";
const DIVIDERS = { text: { least: 25, most: 70, usual: 45 }, editor: { least: 20, most: 75, usual: 46 } };
const STEP = 2;

const kept = () => {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
};

const shares = kept();

const start = (divider) => {
  const name = divider.dataset.divider;
  const { least, most, usual } = DIVIDERS[name];
  const upright = divider.getAttribute("aria-orientation") === "vertical";

  const sides = (share) => ({ [`${name}-before`]: `${share}fr`, [`${name}-after`]: `${100 - share}fr` });
  const say = (share) => divider.setAttribute("aria-valuenow", Math.round(share));

  const current = () => Number.parseFloat(shares[`${name}-before`]) || usual;

  const set = (wanted) => {
    const share = Math.min(most, Math.max(least, wanted));
    for (const [side, size] of Object.entries(sides(share))) document.documentElement.style.setProperty(`--${side}`, size);
    Object.assign(shares, sides(share));
    say(share);
    try {
      localStorage.setItem(KEY, JSON.stringify(shares));
    } catch {
      // It holds for this page.
    }
  };

  divider.setAttribute("aria-valuemin", least);
  divider.setAttribute("aria-valuemax", most);
  say(current());
  divider.hidden = false;

  divider.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    divider.focus({ preventScroll: true });
    divider.setPointerCapture(event.pointerId);
    divider.dataset.dragging = "";
  });
  divider.addEventListener("pointermove", (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const before = divider.previousElementSibling.getBoundingClientRect();
    const after = divider.nextElementSibling.getBoundingClientRect();
    const [from, to, at] = upright ? [before.left, after.right, event.clientX] : [before.top, after.bottom, event.clientY];
    set((100 * (at - from)) / (to - from));
  });
  divider.addEventListener("lostpointercapture", () => { delete divider.dataset.dragging; });
  divider.addEventListener("dblclick", () => set(usual));
  divider.addEventListener("keydown", (event) => {
    const [back, on] = upright ? ["ArrowLeft", "ArrowRight"] : ["ArrowUp", "ArrowDown"];
    const wanted = { [back]: current() - STEP, [on]: current() + STEP, Home: least, End: most, Enter: usual }[event.key];
    if (wanted === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    set(wanted);
  });
};

for (const divider of document.querySelectorAll("[data-divider]")) start(divider);
