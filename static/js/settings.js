// What a reader chooses for all lessons, kept in this browser.
//   data-settings      what holds the controls; shown only where scripts run
//   data-setting=NAME  a control: a checkbox, or a select whose value <html data-NAME> then carries

const KEY = "playground:settings";
const listeners = new Map();

const read = () => {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
};

const value = (control) => (control.type === "checkbox" ? control.checked : control.value);

const tell = (name, chosen) => {
  if (typeof chosen === "string") document.documentElement.dataset[name] = chosen;
  listeners.get(name)?.forEach((listener) => { listener(chosen); });
};

// Call `listener` with the setting as it is, and again whenever it changes.
export const setting = (name, listener) => {
  listeners.set(name, [...(listeners.get(name) ?? []), listener]);
  const kept = read()[name];
  if (kept !== undefined) listener(kept);
};

for (const control of document.querySelectorAll("[data-setting]")) {
  const { setting: name } = control.dataset;
  const kept = read()[name];
  if (control.type === "checkbox") control.checked = kept ?? control.checked;
  else if ([...control.options].some((option) => option.value === kept)) control.value = kept;
  if (kept !== undefined) tell(name, kept);
  control.addEventListener("change", () => {
    try {
      localStorage.setItem(KEY, JSON.stringify({ ...read(), [name]: value(control) }));
    } catch {
      // No room or no leave to keep it: it holds for this page.
    }
    tell(name, value(control));
  });
}

for (const box of document.querySelectorAll("[data-settings]")) box.hidden = false;
