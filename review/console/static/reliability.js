// How good the scores are, by what people have said since: diagrams, and tables by label and by source.

import { address, between, draw, events, exports, sentence, shareOf, taxonomies, when } from "/static/analysis.js";
import { get } from "/static/api.js";
import { clock, count, el, make, percent, problem, table } from "/static/dom.js";

const SHOWN = 25;

/** What scored, which readings, and which are left out. */
function scored({ scored_by: by, gate_id: gate, calibrator, since, labelled, unscored, left_out: older, traffic_rows: traffic }) {
  const scorer = {
    live: `Scored by the live gate, ${gate}, with the calibrator ${calibrator}.`,
    candidate: `Scored by the candidate, ${gate}, with the calibrator ${calibrator}: the live gate has none.`,
    label_probability: "Scored by the model's own probability of its label: no gate has a calibrator yet.",
  }[by];
  return [
    scorer,
    `${count(labelled)} readings with a verdict, decided since ${when(since)}.`,
    unscored ? `The answers of ${count(unscored)} more could not be read.` : null,
    older ? `${count(older)} older ones are left out: the calibrator may have learned from them.` : null,
    `Coverage is counted on the newest ${count(traffic)} readings, with a verdict or not.`,
  ].filter(Boolean).join(" ");
}

function certified({ certified: point, max_error: promised, threshold }) {
  if (!point) return `The dashed line is the promise: at most ${percent(promised)} wrong.`;
  return `The vertical line is the certified threshold, ${threshold.toFixed(4)}: ${percent(point[0])} passed when it was certified, and at most ${percent(point[1])} of that was wrong. Dashed: the promise.`;
}

const link = (text, parameters, label) => make("a", { href: events(parameters), "aria-label": label }, text);
const share = (low, high) => `${Math.round(100 * low)} – ${Math.round(100 * high)} %`;

function numbers(taxonomy, found) {
  const bin = ({ low, high }, more = {}) =>
    link(share(low, high), { taxonomy, low, high, ...more }, `Items with a score of ${share(low, high)}`);
  el("numbers-reliability").replaceChildren(table("Scores, and how often they were right", [
    { title: "Score", of: (each) => bin(each, { judged: true }), short: true },
    { title: "Mean", of: (each) => percent(each.mean_score), number: true },
    { title: "Correct", of: ({ correct }) => percent(correct.value), number: true },
    { title: "95 %", of: ({ correct }) => between(correct.low, correct.high), number: true },
    { title: "Readings", of: ({ correct }) => count(correct.n), number: true },
  ], found.reliability));
  const step = Math.max(1, Math.ceil(found.curve.length / SHOWN));
  el("numbers-risk-coverage").replaceChildren(table("Thresholds, and what would pass", [
    { title: "Threshold", of: ({ threshold }) => link(threshold.toFixed(4), { taxonomy, low: threshold }, `Items from a score of ${threshold.toFixed(4)}`), short: true },
    { title: "Coverage", of: (each) => percent(each.coverage), number: true },
    { title: "Error", of: ({ error }) => percent(error.value), number: true },
    { title: "95 %", of: ({ error }) => between(error.low, error.high), number: true },
    { title: "Of", of: ({ error }) => count(error.n), number: true },
  ], found.curve.filter((_, index) => index % step === 0 || index === found.curve.length - 1)));
  const width = 1 / found.labelled_scores.length;
  const bins = found.labelled_scores.map((labelled, index) =>
    ({ low: +(index * width).toFixed(9), high: +((index + 1) * width).toFixed(9), labelled, traffic: found.traffic_scores[index] }));
  el("numbers-scores").replaceChildren(table("Scores, and how many readings have them", [
    { title: "Score", of: (each) => bin(each), short: true },
    { title: "Labelled", of: (each) => percent(each.labelled), number: true },
    { title: "Traffic", of: (each) => percent(each.traffic), number: true },
  ], bins));
}

function groups(taxonomy, kind, caption, found) {
  const rows = found ? found.rows : [];
  const named = (row) => row.name || "(none)";
  const shown = table(caption, [
    { title: kind === "label" ? "Label" : "Source", of: (row) => (row.name ? link(row.name, { taxonomy, [kind]: row.name }, `Items: ${row.name}`) : named(row)), short: true },
    { title: "Labelled", of: ({ error }) => count(error.n), number: true },
    { title: "Share of traffic", of: (row) => percent(row.traffic_share), number: true },
    { title: "Error, 95 %", of: ({ error }) => shareOf(error), number: true },
    { title: "Wrong", of: (row) => (row.name ? link("items", { taxonomy, [kind]: row.name, wrong: true }, `Wrong items: ${row.name}`) : "–"), short: true },
    { title: "Mean score", of: (row) => percent(row.mean_score), number: true },
    { title: "Score − correct", of: (row) => make("span", { class: row.off && "off" }, signed(row.gap), row.off ? make("span", { class: "unseen" }, ", more than chance") : null), number: true },
    { title: "Error of what passes", of: (row) => (row.passing ? shareOf(row.passing) : "none passes"), number: true },
    { title: "Brier", of: (row) => row.brier?.toFixed(4), number: true },
    { title: "AUROC", of: (row) => row.auroc?.toFixed(3), number: true },
  ], rows, { empty: "Nothing has a verdict yet." });
  el(`by-${kind}`).replaceChildren(shown);
  if (!found) return;
  const { brier, smooth_ece: ece, auroc } = found.macro;
  const mean = [["Brier score", brier], ["smooth ECE", ece], ["AUROC", auroc]].filter(([, each]) => each.value !== null).map(([name, each]) => `${name} ${each.value.toFixed(4)}`);
  shown.before(make("p", { class: "hint" },
    `Mean over all ${kind}s, each counting the same: ${mean.join(", ")}. In red: the score is further from what was observed than chance explains.`,
    found.rarer ? ` ${count(found.rarer)} rarer ones have no row.` : null));
}

const signed = (gap) => {
  const points = (100 * gap).toFixed(1);
  return Number(points) > 0 ? `+${points}` : points.replace("-", "−").replace("−0.0", "0.0");
};

let newest = null;

async function show(taxonomy) {
  newest = taxonomy;
  el("figured").hidden = true;
  el("waiting").hidden = false;
  problem("");
  try {
    const found = await get(address("/api/v1/analysis/diagrams", { taxonomy }));
    if (newest !== taxonomy) return;
    el("as-of").textContent = `As of ${clock(found.as_of)}`;
    el("scored").textContent = scored(found);
    el("certified").textContent = certified(found);
    numbers(taxonomy, found);
    groups(taxonomy, "label", "Each label's readings", found.labels);
    groups(taxonomy, "source", "Each source's readings", found.sources);
    for (const name of ["reliability", "risk-coverage", "scores"])
      el(`links-${name}`).replaceChildren(link("Items", { taxonomy, judged: name === "scores" ? null : true }, `Items behind ${name}`), ...exports(name, { taxonomy }));
    for (const name of ["labels", "sources"]) el(`links-${name}`).replaceChildren(...exports(name, { taxonomy }, { picture: false }));
    await Promise.all(["reliability", "risk-coverage", "scores"].map((name) => draw(name, { taxonomy })));
    el("figured").hidden = false;
  } catch (error) {
    problem(sentence(error));
  } finally {
    if (newest === taxonomy) el("waiting").hidden = true;
  }
}

taxonomies(show).then((first) => (first ? show(first) : (el("waiting").hidden = true)));
