// A policy's terms in words, and what is another between two policies.

import { same } from "/static/question.js";

const percent = (share) => `${Number((100 * share).toPrecision(6)).toLocaleString()} %`;
const number = (value) => value.toLocaleString(undefined, { maximumSignificantDigits: 6 });
const list = (names) => (names.length ? [...names].sort().join(", ") : "none");
const promises = (promise) =>
  promise === "joint" ? "of everything together" : promise === "per_label" ? "of each label alone" : promise.map((group) => group.join(" + ")).join("; ");
const costs = (by) => list(Object.entries(by).map(([label, cost]) => `${label} ${number(cost)}`));
const rates = ({ closed, canary, full }) => `${percent(closed)} closed, ${percent(canary)} canary, ${percent(full)} full`;

const TERMS = {
  max_error: ["Max error", percent],
  confidence: ["Confidence", percent],
  promise: ["The promise is made", promises],
  max_label_error: ["Max error of a label", percent],
  severe_labels: ["Always to a person", list],
  error_cost: ["Cost of an error", number],
  label_error_costs: ["Cost of an error, by label", costs],
  review_cost: ["Cost of a review", number],
  reviewer_scarcity: ["Reviewer scarcity", number],
  reviews_per_day: ["Reviews a day", number],
  audit_rates: ["Audit rates", rates],
  canary_share: ["Share of the canary", percent],
  retention_days: ["Kept in the ledger, days", number],
};

const said = (show, value) => (value === null || value === undefined ? "not said" : show(value));

/** A term in words. */
export const termName = (name) => TERMS[name]?.[0] ?? name;

/** What is another: {name, before, after}, in words. `before`: null where there is no policy yet. */
export const changes = (before, after) =>
  Object.entries(TERMS)
    .filter(([name]) => name in after && (before === null || !same(before[name], after[name])))
    .map(([name, [title, show]]) => ({ name: title, before: before === null ? null : said(show, before[name]), after: said(show, after[name]) }));
