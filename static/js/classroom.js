// What an instructor's pages need beyond plain forms.
//   data-class-key     the form for the instructor's key: a key in the address is put into it and posted, and it leaves
//                      the address at once, so that it stands in no history
//   data-wall          the projector's page
//   data-wall-key      on a button or link of it: the key that presses it

const form = document.querySelector("[data-class-key]");

const enter = () => {
  const key = decodeURIComponent(location.hash.slice(1));
  // The forms of the class's page lead back to one of its headings, which is no key.
  if (!key || key.endsWith("-title")) return;
  history.replaceState(null, "", location.pathname + location.search);
  form.elements.namedItem("key").value = key;
  form.requestSubmit();
};

if (form) {
  enter();
  // A link that is pasted while this page is open only changes the fragment, and loads nothing.
  addEventListener("hashchange", enter);
}

if (document.querySelector("[data-wall]")) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const wanted = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const pressed = document.querySelector(`[data-wall-key="${CSS.escape(wanted)}"]`);
    if (!pressed) return;
    event.preventDefault();
    pressed.click();
  });
}
