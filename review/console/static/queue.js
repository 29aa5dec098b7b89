// The queue at a glance, renewed every few seconds.

import { get } from "/static/api.js";
import { clock, count, el, figure, percent, problem, span, table, words } from "/static/dom.js";

const EVERY_MS = 5_000;

const expiries = { title: "Expiries", of: (entry) => count(entry.expiries), number: true };
const task = { title: "Task", of: (entry) => entry.event_id };

function shares(caption, name, counts) {
  const sorted = Object.entries(counts).sort(([, one], [, other]) => other - one);
  return table(caption, [
    { title: name, of: ([each]) => words(each) },
    { title: "Tasks", of: ([, tasks]) => count(tasks), number: true },
  ], sorted);
}

async function renew() {
  try {
    const [figures, entries] = await Promise.all([get("/api/v1/queue"), get("/api/v1/queue/entries")]);
    problem("");
    el("figures").replaceChildren(
      figure("waiting or claimed", count(figures.depth)),
      figure("claimed", count(figures.claimed)),
      figure("the oldest waits", span(figures.oldest_s)),
      figure("for leads", count(figures.for_leads)),
      figure("handed on", count(figures.reserved)),
      figure("skips, ever", count(figures.skips)),
      figure("leases run out, ever", count(figures.expired_leases)),
      figure("damaged", count(figures.damaged)),
      figure("of Valkey's memory", percent(figures.memory_ratio, 0)),
    );
    el("shares").replaceChildren(
      shares("By reason", "Reason", figures.by_reason),
      shares("By label", "Label", figures.by_label),
      shares("By taxonomy", "Taxonomy", figures.by_taxonomy),
    );
    el("entries").replaceChildren(
      table("Who holds what", [
        task,
        { title: "Reviewer", of: (entry) => entry.lease.holder, short: true },
        { title: "Until", of: (entry) => clock(entry.lease.deadline), short: true },
        { title: "On hold", of: (entry) => (entry.lease.kind === null ? "" : words(entry.lease.kind)) },
        expiries,
      ], entries.claimed, { empty: "Nobody holds anything." }),
      table("For leads", [
        task,
        { title: "Why", of: (entry) => (entry.lead ? "escalated" : `${entry.answers} answers differ`) },
        { title: "Note", of: (entry) => (entry.note ? `${entry.note.by}: ${entry.note.text}` : "") },
      ], entries.for_leads, { empty: "Nothing waits for a lead." }),
      table("Next to be claimed", [task, { title: "Waits since", of: (entry) => clock(entry.since), short: true }, expiries], entries.waiting, {
        empty: "Nothing waits.",
      }),
    );
  } catch (error) {
    problem(`${error.message} What is shown may be old.`);
  }
}

renew();
setInterval(renew, EVERY_MS);
