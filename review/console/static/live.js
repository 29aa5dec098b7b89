// How one taxonomy stands, renewed every few seconds: what changed is put in its place, the rest is left alone.

import { address, asked, between, day, draw, events, exports, remember, sentence, taxonomies, tile, when } from "/static/analysis.js";
import { get } from "/static/api.js";
import { clock, count, el, make, page, percent, problem, span, table, words } from "/static/dom.js";
import { settle } from "/static/morph.js";
import { error as saidOfError, forecast, verdict } from "/static/standing.js";

const EVERY_MS = 10_000;

let taxonomy = null;
let renewing = false;
let again = false;

/** Once: what was said already is not read out again. */
const say = (text) => el("problem").textContent === text || problem(text);
const paragraphs = (lines) => lines.map((line) => make("p", {}, line));

function showVerdict(standing) {
  const { tone, heading, lines } = verdict(standing);
  el("verdict").className = `verdict-on ${tone}`;
  settle(el("verdict"), make("p", { class: "heading" }, heading), ...paragraphs(lines));
}

function showFigures({ traffic, error, live, audits, forecast: queue }, hours) {
  const since = traffic.hours[0].start;
  const passed = { taxonomy, gate: error.gate_id, audited: true, would_pass: true };
  settle(el("figures"),
    tile("readings", count(traffic.readings), {
      href: events({ taxonomy, since }),
      more: traffic.newest ? `the newest at ${clock(traffic.newest)}` : `none in ${span(3600 * hours)}`,
    }),
    tile("passed without a person", percent(traffic.accepted_share), {
      href: events({ taxonomy, route: "auto_accept", since }),
      more: `${count(traffic.accepted)} images`,
    }),
    tile("error of what passed", error.error === null ? "not known" : percent(error.error), {
      href: events({ ...passed, judged: true }),
      tone: error.alarms.length ? "bad" : null,
      more: [
        error.answered ? `between ${between(error.low, error.high)}` : "no audit is answered",
        live.max_error === null ? "nothing is promised" : `promised: ${percent(live.max_error)}`,
      ],
    }),
    tile(`wrong of ${count(error.answered)} audits`, count(error.wrong), { href: events({ ...passed, wrong: true }), more: `under ${error.gate_id}` }),
    tile("audits done", count(audits.done), {
      href: events({ taxonomy, audited: true, judged: true, since: audits.since }),
      more: `of ${count(audits.drawn)} drawn since ${day(audits.since)}`,
    }),
    tile("audits due", count(audits.due), {
      href: events({ taxonomy, audited: true, judged: false, since: audits.since }),
      tone: audits.overdue ? "bad" : null,
      more: [
        `${count(audits.overdue)} overdue`,
        audits.oldest_due_hours === null ? null : `the oldest waits ${span(3600 * audits.oldest_due_hours)}`,
      ],
    }),
    tile("wait for review", count(queue.backlog), {
      href: page.permissions.includes("see_overview") ? "/queue" : null,
      more: queue.hours_to_clear ? `${span(3600 * queue.hours_to_clear)} of work` : null,
    }));
}

function showGates({ live, candidate, candidate_error: canary }) {
  const facts = {
    Id: (gate) => make("a", { href: address("/gates", { taxonomy }) }, gate.gate_id),
    Stage: (gate) => gate.stage,
    Passes: (gate) => (gate.passes ? "yes" : `nothing: ${words(gate.shut)}`),
    Promise: (gate) => (gate.max_error === null ? "none" : `at most ${percent(gate.max_error)} wrong`),
    Confidence: (gate) => percent(gate.confidence, 0),
    Audits: (gate) => `${percent(gate.audit_rate)} of what would pass`,
    Made: (gate) => when(gate.created_at),
    Expires: (gate) => (gate.expires_at ? when(gate.expires_at) : "never"),
    Items: (gate) => make("a", { href: events({ taxonomy, gate: gate.gate_id }), "aria-label": `Items under ${gate.gate_id}` }, "under it"),
  };
  const columns = [
    { title: "Gate", of: ([name]) => name },
    { title: "Live", of: ([, of]) => of(live) },
    { title: "Candidate", of: ([, of]) => candidate && of(candidate) },
  ];
  settle(el("gates"), table("The gates", columns, Object.entries(facts)),
    candidate ? null : make("p", { class: "hint" }, "There is no candidate."),
    canary && make("p", {}, saidOfError(canary), " ",
      make("a", { href: events({ taxonomy, gate: canary.gate_id, audited: true, would_pass: true }) }, "Its audits")));
}

function showPromises({ error }) {
  settle(el("promises"), error.promises.length > 0 && table("Each promise by itself", [
    { title: "Labels", of: (each) => each.labels.join(", ") },
    { title: "Threshold", of: (each) => each.threshold.toFixed(4), number: true },
    { title: "Certified bound", of: (each) => percent(each.upper_bound), number: true },
    { title: "Audits", of: (each) => count(each.answered), number: true },
    { title: "Wrong", of: (each) => count(each.wrong), number: true },
    { title: "Error", of: (each) => percent(each.error), number: true },
    { title: "Interval", of: (each) => between(each.low, each.high), number: true },
    { title: "Evidence of alarm", of: (each) => percent(each.evidence, 0), number: true },
  ], error.promises));
}

function showDrift({ drift, live }) {
  settle(el("drift"), table("Drift: the newest readings against those of the certificate. A warning, never a proof.", [
    { title: "Of", of: (each) => words(each.name) },
    { title: "Level", of: (each) => make("span", { class: `level-${each.level}` }, words(each.level)), short: true },
    { title: "PSI", of: (each) => each.psi.toFixed(3), number: true },
    { title: "by chance", of: (each) => each.chance === null ? "–" : each.chance.toFixed(3), number: true },
    { title: "KS", of: (each) => each.ks === null ? "–" : each.ks.toFixed(3), number: true },
    { title: "What changed", of: (each) => each.words.replace(`${each.name}: `, "") },
  ], drift, { empty: `${live.gate_id} has no certificate to compare with.` }),
  make("p", { class: "links" }, make("a", { href: events({ taxonomy, gate: live.gate_id }) }, `The newest readings under ${live.gate_id}`)));
}

function showLinks({ traffic, error }, hours) {
  settle(el("links-traffic"), make("a", { href: events({ taxonomy, since: traffic.hours[0].start }) }, "Items"), ...exports("traffic", { taxonomy, hours }));
  settle(el("links-error"), make("a", { href: events({ taxonomy, gate: error.gate_id, audited: true, would_pass: true }), "aria-label": "Items: the audits of what passed" }, "Items"), ...exports("error", { taxonomy }));
}

async function renew() {
  if (!taxonomy) return begin();
  if (renewing) {
    again = true;
    return;
  }
  renewing = true;
  const hours = Number(el("hours").value);
  const shown = taxonomy;
  try {
    const standing = await get(address("/api/v1/analysis/standing", { taxonomy: shown, hours }));
    if (shown === taxonomy) {
      say("");
      settle(el("as-of"), `As of ${clock(standing.as_of)}, renewed by itself`);
      showVerdict(standing);
      showFigures(standing, hours);
      settle(el("forecast"), ...forecast(standing.forecast).map((line) => make("li", {}, line)));
      showGates(standing);
      showPromises(standing);
      showDrift(standing);
      showLinks(standing, hours);
      el("figured").hidden = false;
      await Promise.all([draw("traffic", { taxonomy, hours }), draw("error", { taxonomy, hours })]);
    }
  } catch (error) {
    say(sentence(error) + (el("figured").hidden ? "" : " What is shown may be old."));
  } finally {
    renewing = false;
  }
  if (again) {
    again = false;
    renew();
  }
}

async function begin() {
  taxonomy = await taxonomies((chosen) => {
    taxonomy = chosen;
    el("figured").hidden = true;
    renew();
  });
  if (taxonomy) renew();
}

const hours = el("hours");
if ([...hours.options].some(({ value }) => value === asked("hours"))) hours.value = asked("hours");
hours.addEventListener("change", () => {
  remember("hours", hours.value);
  renew();
});
begin();
setInterval(() => document.hidden || renew(), EVERY_MS);
document.addEventListener("visibilitychange", () => document.hidden || renew());
