// How a taxonomy stands, in words.

import { between, when } from "/static/analysis.js";
import { count, percent, span } from "/static/dom.js";

const hours = (value) => span(3600 * value);
const rate = (value) => (value < 10 ? value.toFixed(1) : count(value));

/** Whether the promise holds, as a heading of a tone and sentences. */
export function verdict({ live, error }) {
  const lines = [];
  if (error.alarms.length)
    return { tone: "bad", heading: "The promise does not hold", lines: [...error.alarms.map((each) => `${each}.`), ...shut(live)] };
  if (!live.passes) return { tone: "caution", heading: "Nothing passes: everything goes to people", lines: shut(live) };
  if (live.max_error === null)
    return { tone: "caution", heading: "Nothing is promised", lines: ["Images pass by a threshold that nobody has certified."] };
  const promised = percent(live.max_error);
  if (!error.answered)
    return { tone: "caution", heading: "The promise rests on its certificate alone", lines: [`At most ${promised} of what passes may be wrong, and no audit is answered yet.`] };
  lines.push(whatAuditsSay(error));
  if (error.high <= live.max_error) lines.push(`All of the interval lies within the promise of ${promised}.`);
  else if (error.low > live.max_error) lines.push(`All of the interval lies above the promise of ${promised}.`);
  else lines.push(`The interval reaches beyond the promise of ${promised}: that it is kept is certified, and audits have not yet shown it.`);
  if (error.evidence !== null)
    lines.push(error.evidence < 0.005
      ? "There is no evidence against the promise."
      : `The evidence against it has been at most ${percent(error.evidence, 0)} of what raises the alarm.`);
  return error.low > live.max_error
    ? { tone: "caution", heading: "The promise is in doubt", lines: [lines.join(" ")] }
    : { tone: "good", heading: "The promise holds", lines: [lines.join(" ")] };
}

/** Why nothing passes under a gate; no sentence where something does. */
function shut({ passes, shut: why, gate_id: name, expires_at: until }) {
  if (passes) return ["Images still pass: the gate shuts when the loop looks next."];
  return [{
    no_certificate: `The gate ${name} is shut: it has no certificate.`,
    expired: `The gate ${name} is shut: its certificate expired at ${when(until)}, and nobody renewed it.`,
    other_reader: `The gate ${name} is shut: another model, prompt or decoder reads now than the one it was certified for.`,
  }[why] ?? `The gate ${name} is shut.`];
}

const whatAuditsSay = ({ answered, wrong, error, low, high }) =>
  `Of ${count(answered)} audited images that passed or would have, ${count(wrong)} were wrong: ${percent(error)}, between ${between(low, high)} whenever one looks.`;

/** The error under one gate. */
export const error = (observed) =>
  [observed.answered ? whatAuditsSay(observed) : `Under ${observed.gate_id} no audit is answered yet.`, ...observed.alarms.map((each) => `${each}.`)].join(" ");

/** What becomes of the queue, as sentences. */
export function forecast({ arrivals_per_hour: coming, capacity_per_hour: done, worked_hours_per_day: worked, backlog, growth_per_hour: growth, growth_per_day: daily, hours_to_clear: clear }) {
  const lines = [`${rate(coming)} images an hour come to review, by the last 24 hours.`];
  lines.push(done === null
    ? "Nobody has given a verdict in the last 7 days, so it is not known what reviewers can do."
    : `Reviewers give ${rate(done)} verdicts an hour while they work, and work ${hours(worked)} of a day, by the last 7 days.`);
  if (backlog !== null) lines.push(backlog ? `${count(backlog)} images wait now.` : "Nothing waits now.");
  if (clear) lines.push(`At this pace that is ${hours(clear)} of work.`);
  else if (backlog && growth !== null && growth >= 0) lines.push("At this pace the queue never clears.");
  if (daily !== null)
    lines.push(daily > 0
      ? `Over a whole day, nights included, it grows by ${rate(daily)} images.`
      : `Over a whole day, nights included, reviewers can do ${rate(-daily)} images more than come.`);
  return lines;
}
