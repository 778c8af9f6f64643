// The meaning of a glossary's word shows on hover and focus by the style sheet alone.
//   data-term          Escape puts its meaning away until the pointer or the focus comes back

const terms = () => document.querySelectorAll("[data-term]:hover, [data-term]:focus-within");

document.addEventListener("keydown", ({ key }) => {
  if (key === "Escape") for (const term of terms()) term.dataset.term = "away";
});

for (const event of ["pointerover", "focusin"]) {
  document.addEventListener(event, ({ target }) => {
    const term = target.closest?.("[data-term]");
    for (const other of document.querySelectorAll('[data-term="away"]')) if (other !== term) other.dataset.term = "";
  });
}
