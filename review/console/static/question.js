// What was moved, as the server is asked it, as the page's address has it, and as a policy would say it.

import { NUMBERS } from "/static/knobs.js";

const COSTS = ["label_error_costs", "label_review_costs"];
/** What a term of the policy comes of, where it is not the knob of its own name. */
const TERMS = {
  audit_rate: ["audit_rates"],
  label_review_costs: ["error_cost", "review_cost", "reviewer_scarcity", "label_error_costs"],
  reviewers: [],
  hours_per_reviewer: [],
};
const SET_BY_SERVER = ["policy_id", "created_at", "author", "note", "schema_version", "taxonomy"];

/** A question as parameters of an address. */
export function toAddress(taxonomy, moved) {
  const parameters = new URLSearchParams({ taxonomy });
  for (const [name, value] of Object.entries(moved)) {
    if (COSTS.includes(name)) for (const [label, cost] of Object.entries(value)) parameters.set(`${name}.${label}`, cost);
    else if (name === "severe_labels") for (const label of value.length ? value : [""]) parameters.append(name, label);
    else parameters.set(name, value);
  }
  return `?${parameters}`;
}

/** The question of an address; what is no number there is left out. */
export function fromAddress(search) {
  const moved = {};
  const parameters = new URLSearchParams(search);
  for (const [name, text] of parameters) {
    const [field, ...rest] = name.split(".");
    const number = text.trim() === "" ? NaN : Number(text);
    if (NUMBERS.includes(name) && Number.isFinite(number)) moved[name] = number;
    else if (COSTS.includes(field) && rest.length && Number.isFinite(number)) (moved[field] ??= {})[rest.join(".")] = number;
  }
  if (parameters.has("severe_labels")) moved.severe_labels = parameters.getAll("severe_labels").filter(Boolean);
  if (["joint", "per_label"].includes(parameters.get("promise"))) moved.promise = parameters.get("promise");
  return moved;
}

/** Whether two terms say the same; the order of names says nothing. */
export const same = (one, other) => JSON.stringify(inOrder(one)) === JSON.stringify(inOrder(other));

function inOrder(term) {
  if (Array.isArray(term)) return term.map(inOrder).sort((one, other) => (String(one) < String(other) ? -1 : 1));
  if (term === null || typeof term !== "object") return term;
  return Object.fromEntries(Object.keys(term).sort().map((key) => [key, inOrder(term[key])]));
}

const differing = (before, after) =>
  Object.keys(after).filter((name) => !SET_BY_SERVER.includes(name) && !same(before[name], after[name]));
const touched = (moved) => new Set(Object.keys(moved).flatMap((name) => TERMS[name] ?? [name]));

/** The terms that a proposal changes: of the policy that was answered on, those that come of what was moved. */
export function termsOf(inForce, answered, moved) {
  const mine = touched(moved);
  return Object.fromEntries(differing(inForce, answered).filter((name) => mine.has(name)).map((name) => [name, answered[name]]));
}

/** Whether the answer is of a survey under an earlier policy: it differs where nothing was moved. */
export const outdated = (inForce, answered, moved) => differing(inForce, answered).some((name) => !touched(moved).has(name));
