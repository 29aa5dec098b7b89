// The items behind the figures: found by a filter that is kept in the address, or one by its id.

import { address, asked, mayExport, sentence, taxonomies, when } from "/static/analysis.js";
import { get } from "/static/api.js";
import { count, el, make, percent, problem, table, words } from "/static/dom.js";
import { showEvent } from "/static/event.js";

const MOST = 100;
const REASONS = ["certified", "uncertified", "no_certificate", "below_threshold", "too_costly", "always_review", "audit", "unparsed", "unsure_image"];
const PLAIN = ["taxonomy", "route", "reason", "label", "source", "gate", "audited", "would_pass", "low", "high"];
const TIMES = ["since", "until"];
const SAID = ["wrong", "judged"];

const form = el("filter");
const field = (name) => form.elements.namedItem(name);

/** A moment as `datetime-local` has it, in the reader's own time; and back, as ISO 8601 in UTC. */
function local(text) {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? "" : new Date(at - 60_000 * at.getTimezoneOffset()).toISOString().slice(0, 16);
}
const utc = (text) => (text ? new Date(text).toISOString() : "");

/** What the address asks for. */
const wanted = () => Object.fromEntries([...PLAIN, ...TIMES, ...SAID].map((name) => [name, asked(name)]));

/** What the form says, as parameters of the address. */
function said() {
  const found = Object.fromEntries(PLAIN.map((name) => [name, field(name).value.trim()]));
  for (const name of TIMES) {
    const before = asked(name);
    found[name] = before && local(before) === field(name).value ? before : utc(field(name).value); // seconds are kept
  }
  const [name, value] = field("verdict").value.split("=");
  return name ? { ...found, [name]: value } : found;
}

function fill() {
  const given = wanted();
  for (const name of PLAIN.slice(1)) field(name).value = given[name] ?? "";
  for (const name of TIMES) field(name).value = given[name] ? local(given[name]) : "";
  field("verdict").value = given.wrong ? `wrong=${given.wrong}` : given.judged ? `judged=${given.judged}` : "";
}

const verdict = ({ verdict: given }) =>
  given && make("span", {}, make("span", { class: given.wrong ? "wrong" : "right" }, given.label ?? "cannot tell"), ` by ${given.reviewer}`);

async function list(taxonomy) {
  const filter = { ...wanted(), taxonomy };
  el("found").textContent = "Looking.";
  try {
    const found = await get(address("/api/v1/analysis/items", { ...filter, limit: MOST }));
    problem("");
    el("found").textContent = found.length < MOST ? `${count(found.length)} found.` : `The newest ${count(MOST)} of more.`;
    el("items").replaceChildren(table("The newest first", [
      { title: "Event", of: (item) => make("a", { href: address("/events", { ...filter, event_id: item.event_id }) }, item.event_id), short: true },
      { title: "Decided", of: (item) => when(item.decided_at), short: true },
      { title: "Label", of: (item) => item.label ?? "not read", short: true },
      { title: "Verdict", of: verdict, short: true },
      { title: "Score", of: (item) => percent(item.probability), number: true },
      { title: "Route", of: (item) => (item.route === "auto_accept" ? "passed" : "to people"), short: true },
      { title: "Reason", of: (item) => words(item.reason), short: true },
      { title: "Audit", of: (item) => (item.audited ? (item.would_pass ? "would have passed" : "drawn") : ""), short: true },
      { title: "Source", of: (item) => item.source, short: true },
      { title: "Gate", of: (item) => item.gate, short: true },
    ], found, { empty: "No event in the ledger is like this." }));
    if (mayExport) el("export").replaceChildren(make("a", { href: address("/api/v1/analysis/items/csv", filter), download: "items.csv" }, "All as CSV"));
  } catch (error) {
    el("found").textContent = "";
    problem(sentence(error));
  }
}

/** The labels that there are, to choose from; the filter works as well without. */
async function suggest(taxonomy) {
  try {
    const { labels } = await get(address("/api/v1/analysis/diagrams", { taxonomy }));
    el("known-labels").replaceChildren(...(labels?.rows ?? []).map(({ name }) => make("option", { value: name })));
  } catch {
    el("known-labels").replaceChildren();
  }
}

async function begin() {
  field("reason").append(...REASONS.map((name) => make("option", { value: name }, words(name))));
  const eventId = asked("event_id");
  if (eventId !== null) {
    el("lookup").elements.namedItem("event_id").value = eventId;
    el("back").href = address("/events", wanted());
    return showEvent(eventId);
  }
  el("listed").hidden = false;
  fill();
  const taxonomy = await taxonomies(() => null);
  if (taxonomy) await Promise.all([list(taxonomy), suggest(taxonomy)]);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  location.assign(address("/events", said()));
});
begin();
