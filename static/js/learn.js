// What the learner is led by; all of it can be missing, and the page still works.
//   data-gives         holds texts for the fields of the form it names; each goes to the field of its name;
//                      `texts-given` on the document says that they are there
//   data-given         on such a text: the field
//   data-reached       stands in the verdict of a goal reached; other tabs are told, and show it
//   data-focus         is focused when it comes into the page, because what was focused has gone

const give = (box) => {
  const form = document.getElementById(box.dataset.gives);
  const changed = [];
  for (const text of box.querySelectorAll("[data-given]")) {
    const field = form?.elements.namedItem(text.dataset.given);
    if (field && field.value !== text.value) {
      field.value = text.value;
      changed.push(text.dataset.given);
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
  }
  box.replaceChildren();
  // What has changed is to be seen: its tab comes to the front when another one stands there.
  const tabs = form?.elements.namedItem("shown");
  if (changed.length && tabs && !changed.includes(`file:${tabs.value}`)) tabs.value = changed[0].slice("file:".length);
  document.dispatchEvent(new CustomEvent("texts-given"));
};

// If a swap removes the focused element, the focus goes to what came in its place, or to what is around that.
let last = null;
let around = [];

document.addEventListener("focusin", ({ target }) => {
  last = target;
  around = [];
  for (let each = target; each; each = each.parentElement) if (each.id) around.push(each.id);
});
document.addEventListener("pointerdown", () => { last = null; }, { capture: true });

const resume = () => {
  if (!last || last.isConnected || document.activeElement !== document.body) return;
  const acts = (each) => each.matches("button:enabled, a[href], [tabindex]");
  const places = around.map((id) => document.getElementById(id)).filter((each) => each?.checkVisibility());
  const place = places.find((each) => acts(each) || each.childElementCount);
  if (!place) return;
  const inside = [...place.querySelectorAll("button, a[href]")].find((each) => each.checkVisibility() && !each.disabled);
  const next = acts(place) ? place : (inside ?? place);
  if (!acts(next)) next.setAttribute("tabindex", "-1");
  next.focus({ preventScroll: true });
};

document.addEventListener("htmx:after:swap", () => {
  for (const box of document.querySelectorAll("[data-gives]")) {
    if (box.childElementCount) give(box);
  }
  const next = document.querySelector("[data-focus]");
  if (next) {
    next.removeAttribute("data-focus");
    if (document.activeElement === document.body) next.focus();
  }
  resume();
});

// `progress` on the document asks the elements that show how far the learner is to come anew.
const renew = () => document.dispatchEvent(new CustomEvent("progress"));
const tabs = new BroadcastChannel("playground-progress");
tabs.addEventListener("message", renew);
addEventListener("pageshow", ({ persisted }) => persisted && renew());
document.addEventListener("run-done", () => {
  // A comparison brings no progress of its own.
  if (document.querySelector(".comparison")) renew();
  if (document.querySelector("[data-reached]")) tabs.postMessage("reached");
});
