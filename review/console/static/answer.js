// What would be, beside what is: the answer to a question.

import { between, when } from "/static/analysis.js";
import { count, make, percent, span, table } from "/static/dom.js";
import { settle } from "/static/morph.js";

const few = (value) => (value < 100 ? value.toLocaleString(undefined, { maximumFractionDigits: 1 }) : count(value));
const signed = (value, show) => (value === 0 ? "±0" : `${value > 0 ? "+" : "−"}${show(Math.abs(value))}`);
const points = (share) => `${(100 * share).toFixed(1)} points`;

/** A figure and its interval, for a cell. */
function estimate(value, show) {
  if (value === null) return "not known";
  if (value.low === null) return show(value.value);
  const range = show === percent ? between(value.low, value.high) : `${show(value.low)} – ${show(value.high)}`;
  return make("span", {}, show(value.value), " ", make("span", { class: "range" }, range));
}

/** A row of estimates: {name, now, then, change}. */
const estimates = (name, now, then, show = few, difference = show) => ({
  name, now: estimate(now, show), then: estimate(then, show),
  change: now && then ? signed(then.value - now.value, difference) : "",
});
const numbers = (name, now, then, show) => ({
  name, now: now === null ? "none" : show(now), then: then === null ? "none" : show(then),
  change: now !== null && then !== null ? signed(then - now, show === percent ? points : show) : "",
});

function queueRows(now, then) {
  if (!then) return [{ name: "Queue", now: "", then: "not known", change: "say what reviewers can do" }];
  const clear = ({ waiting, days_to_clear: days }) => (days !== null ? span(86_400 * days) : waiting === null ? "not counted" : "never");
  return [
    numbers("Reviews, of what can be done", now.load, then.load, percent),
    { name: "Queue grows, a day", now: signed(now.growth_per_day, few), then: signed(then.growth_per_day, few), change: "" },
    { name: `Until what waits is cleared${then.waiting === null ? "" : ` (${count(then.waiting)})`}`, now: clear(now), then: clear(then), change: "" },
  ];
}

function missing(answer) {
  if (answer.labels_missing === null) return "no number would do";
  return answer.labels_missing === 0 ? "none" : `about ${count(answer.labels_missing)}`;
}

const rows = ({ now, then, ...answer }) => [
  estimates("Coverage", now.coverage, then.coverage, percent, points),
  numbers("Promised error, at most", now.max_error, then.max_error, percent),
  numbers("Certified error bound", now.error_bound, then.error_bound, percent),
  estimates("Passing, a day", now.passing_per_day, then.passing_per_day),
  numbers("Wrong of them, a day at most", now.wrong_per_day_at_most, then.wrong_per_day_at_most, few),
  estimates("Reviews, a day", now.reviews_per_day, then.reviews_per_day),
  estimates("Reviewer hours, a day", now.hours_per_day, then.hours_per_day),
  estimates("Audits, a day", now.audits_per_day, then.audits_per_day),
  ...queueRows(now.queue, then.queue),
  { name: "Labels still needed", now: "", then: missing(answer), change: "" },
];

/** The answer in a heading and some sentences, with its tone. */
function verdict(answer) {
  const { then, policy } = answer;
  const attempt = answer.labels_until_attempt
    ? `The loop tries when ${count(answer.labels_until_attempt)} more audits are answered.`
    : "There are enough answered audits for the loop's next attempt.";
  if (answer.refusal) return ["caution", "Nothing would pass", `${answer.refusal} ${attempt}`];
  const bound = then.error_bound === null ? "" : ` Its certificates bound the error by ${percent(then.error_bound)}.`;
  return [
    "good",
    `${percent(then.coverage.value)} would pass without a person`,
    `At most ${percent(policy.max_error)} of it wrong, at ${percent(policy.confidence)} confidence.${bound} ${attempt}`,
  ];
}

function certificate({ promise: { certificate: found } }) {
  if (found.status === "certified") return `certified from ${found.threshold.toFixed(4)}, error at most ${percent(found.upper_bound)}`;
  if (found.status === "insufficient_labels") return `${count(found.labels_used)} of ${count(found.labels_needed)} labels`;
  return "no threshold can be certified";
}

const certificates = (promises) =>
  table("Certificates", [
    { title: "Labels", of: ({ promise }) => promise.labels.join(", ") },
    { title: "What would be certified", of: certificate },
    { title: "Wrong, of audits tested", of: ({ promise: { certificate: found } }) => (found.accepted === undefined ? "–" : `${count(found.errors)} of ${count(found.accepted)}`), number: true },
    { title: "Labels needed", of: ({ labels_missing: lacks }) => (lacks === null ? "no number would do" : count(lacks)), number: true },
  ], promises);

const cell = (name) => (row) => row[name];

/** Show an answer in the elements `verdict`, `compared`, `certificates` and `assumptions`. */
export function showAnswer(answer) {
  const [tone, heading, text] = verdict(answer);
  const at = document.getElementById("verdict");
  at.className = `verdict-on ${tone}`;
  settle(at, make("p", { class: "heading" }, heading), make("p", {}, text));
  settle(document.getElementById("compared"), table("Now, and then", [
    { title: "Figure", of: cell("name") },
    { title: "Now", of: cell("now"), number: true },
    { title: "Then", of: cell("then"), number: true },
    { title: "Change", of: cell("change"), number: true },
  ], rows(answer)));
  settle(document.getElementById("certificates"), certificates(answer.promises));
  settle(document.getElementById("assumptions"), ...answer.assumptions.map((each) => make("li", {}, each)));
  document.getElementById("surveyed").textContent =
    `${count(answer.readings)} readings, ${when(answer.since)} to ${when(answer.until)}${answer.as_the_loop ? "" : "; thresholds nearly as the loop would find them"}`;
}
