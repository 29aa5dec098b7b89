// Building parts of a page. Text is set as text, never as HTML.

export const el = (id) => document.getElementById(id);
export const page = JSON.parse(el("page").textContent);

/** An element; `attributes` that are null or false are left out, `children` are nodes or text. */
export function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === false || value === undefined) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** A table with a caption. `columns`: {title, of: (row) => text or node, number, short: never broken}. */
export function table(caption, columns, rows, { empty = "None." } = {}) {
  const kind = (column) => ({ class: (column.number && "number") || (column.short && "short") });
  const head = make("tr", {}, ...columns.map((column) => make("th", { scope: "col", ...kind(column) }, column.title)));
  const body = rows.length
    ? rows.map((row) => make("tr", {}, ...columns.map((column) => make("td", kind(column), column.of(row) ?? "–"))))
    : [make("tr", {}, make("td", { colspan: columns.length, class: "quiet" }, empty))];
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body)));
}

/** A number with its name, for a list of class "figures"; `more`: a second line. */
export const figure = (name, value, more = null) =>
  make("li", {}, make("b", {}, value), name, more && make("small", {}, more));

/** Say what went wrong, or with an empty sentence that nothing does, in the element `id`. */
export function problem(sentence, id = "problem") {
  el(id).textContent = sentence;
  el(id).hidden = !sentence;
}

export const count = (value) => (value === null || value === undefined ? "–" : Math.round(value).toLocaleString());
export const percent = (share, digits = 1) =>
  share === null || share === undefined ? "–" : `${(100 * share).toFixed(digits)} %`;
export const clock = (text) => new Date(text).toLocaleTimeString();
export const moment = (text) => (text ? new Date(text).toLocaleString() : "–");
export const words = (name) => name.replaceAll("_", " ");

/** How long, for people. */
export function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${(seconds / 3600).toFixed(seconds < 36_000 ? 1 : 0)} h`;
  return `${(seconds / 86_400).toFixed(1)} days`;
}

/** Ask in a dialog of this page: resolves to the text that was given, or null. `least`: of its characters. */
export function asked(question, { label = "Answer", least = 1, button = "Do it" } = {}) {
  const input = make("input", { id: "asked-answer", maxlength: 2000, minlength: least, required: true, autocomplete: "off", autofocus: true });
  const dialog = make("dialog", { "aria-labelledby": "asked-question", class: "asked" },
    make("form", { method: "dialog" },
      make("p", { id: "asked-question" }, question),
      make("label", { for: "asked-answer" }, label), input,
      make("p", { class: "buttons" },
        make("button", { value: "yes", class: "main" }, button),
        make("button", { value: "no", formnovalidate: true }, "Cancel"))));
  document.body.append(dialog);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const answer = input.value.trim();
      dialog.remove();
      resolve(dialog.returnValue === "yes" && answer.length >= least ? answer : null);
    }, { once: true });
    dialog.showModal();
  });
}
