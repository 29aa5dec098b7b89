// What the analysts' pages share: which taxonomy is looked at, charts with what is behind them, and figures as links.

import { drawing, get } from "/static/api.js";
import { el, make, page, percent, problem } from "/static/dom.js";
import { settle } from "/static/morph.js";

export const mayExport = page.permissions.includes("export");

/** The server's own sentence on an error, where it said one. */
export const sentence = (error) => {
  const said = error.sentence || error.message;
  return /[.!?]$/.test(said) ? said : `${said}.`;
};

/** An address with those of the parameters that are something. */
export function address(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return `${path}?${new URLSearchParams(given)}`;
}

/** The items behind a figure. */
export const events = (parameters) => address("/events", parameters);

/** A parameter of this page's own address. */
export const asked = (name) => new URLSearchParams(location.search).get(name);

/** Keep a choice in the address, so that it can be shared and comes back. */
export function remember(name, value) {
  const parameters = new URLSearchParams(location.search);
  parameters.set(name, value);
  history.replaceState(null, "", `?${parameters}`);
}

/** Fill the choice of taxonomies; resolves to the chosen one, or to null where there is none, which is then said. */
export async function taxonomies(changed) {
  const choice = el("taxonomy");
  const wanted = asked("taxonomy");
  let names = [];
  try {
    names = Object.entries(await get("/api/v1/policies")).filter(([, view]) => view.policy).map(([name]) => name);
  } catch (error) {
    problem(sentence(error));
    if (!wanted) return null;
  }
  if (wanted && !names.includes(wanted)) names = [...names, wanted];
  choice.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  if (!names.length) {
    problem("No taxonomy has a policy yet: an analyst proposes the first on the page What if, and its gates follow.");
    return null;
  }
  choice.value = wanted || names[0];
  choice.addEventListener("change", () => {
    remember("taxonomy", choice.value);
    changed(choice.value);
  });
  return choice.value;
}

/** Links to a chart's numbers, and to its picture where it is drawn. */
export function exports(name, parameters, { picture = true } = {}) {
  if (!mayExport) return [];
  const link = (form) =>
    make("a", { href: address(`/api/v1/analysis/charts/${name}/${form}`, parameters), download: `${name}.${form}`, "aria-label": `${name} as ${form.toUpperCase()}` }, form.toUpperCase());
  return picture ? [link("csv"), link("png")] : [link("csv")];
}

/** Draw a chart anew in the figure of its name, whose caption and links stay. */
export async function draw(name, parameters) {
  const drawn = await drawing(address(`/api/v1/analysis/charts/${name}`, parameters));
  settle(el(`chart-${name}`), drawn);
}

/** A figure with a link to the items behind it. */
export const tile = (name, value, { href = null, more = [], tone = null } = {}) =>
  make("li", { class: tone },
    href ? make("a", { href }, make("b", {}, value), name) : make("span", {}, make("b", {}, value), name),
    ...[more].flat().filter(Boolean).map((line) => make("small", {}, line)));

/** A share with its interval. */
export const between = (low, high, digits = 1) => `${(100 * low).toFixed(digits)} – ${percent(high, digits)}`;

/** A share of some, with its interval, for a cell. */
export const shareOf = (share) =>
  share ? make("span", {}, percent(share.value), " ", make("span", { class: "range" }, between(share.low, share.high))) : "–";

export const day = (text) => new Date(text).toLocaleDateString(undefined, { day: "numeric", month: "short" });

export const when = (text) =>
  new Date(text).toLocaleString(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
