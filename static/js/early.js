// Put what the reader has chosen onto the root before the page is first painted. A classic script, so that it blocks.
(() => {
  const kept = (key) => {
    try {
      return JSON.parse(localStorage.getItem(key)) ?? {};
    } catch {
      return {}; // No storage, or something else in it: the page keeps its defaults.
    }
  };
  const { dataset, style } = document.documentElement;
  for (const [name, value] of Object.entries(kept("playground:settings"))) if (typeof value === "string") dataset[name] = value;
  for (const [name, share] of Object.entries(kept("playground:dividers"))) style.setProperty(`--${name}`, share);
})();
