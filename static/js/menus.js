// Menus are <details class="menu">: a click elsewhere, Escape, or a choice closes them.

const open = () => document.querySelectorAll("details.menu[open]");

document.addEventListener("click", ({ target }) => {
  for (const menu of open()) {
    // A button that sends the form has done what the menu was for; one that only acts here may say so in it.
    if (!menu.contains(target) || target.closest("[type=submit]:not([data-plain])")) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of open()) {
    menu.open = false;
    event.preventDefault();
    if (menu.contains(document.activeElement)) menu.querySelector("summary").focus();
  }
}, { capture: true });
