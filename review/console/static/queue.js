// The queue at a glance, renewed every few seconds.

import { get } from "/static/api.js";

const el = (id) => document.getElementById(id);
const EVERY_MS = 5_000;

function rows(body, all, columns) {
  body.replaceChildren(
    ...all.map((each) => {
      const row = document.createElement("tr");
      for (const { text, number } of columns(each)) {
        const cell = document.createElement("td");
        if (number) cell.className = "number";
        cell.textContent = text;
        row.append(cell);
      }
      return row;
    }),
  );
}

function figure(name, value) {
  const item = document.createElement("li");
  const number = document.createElement("b");
  number.textContent = value;
  item.append(number, name);
  return item;
}

function share(title, counts) {
  const holder = document.createElement("div");
  const table = document.createElement("table");
  table.createCaption().textContent = title;
  const head = table.createTHead().insertRow();
  for (const name of [title.replace("By ", ""), "tasks"]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = name;
    head.append(cell);
  }
  const sorted = Object.entries(counts).sort(([, one], [, other]) => other - one);
  rows(table.createTBody(), sorted, ([name, count]) => [
    { text: name.replaceAll("_", " ") },
    { text: count.toLocaleString(), number: true },
  ]);
  holder.append(table);
  return holder;
}

const time = (text) => new Date(text).toLocaleTimeString();

async function renew() {
  try {
    const [figures, { claimed, for_leads: forLeads, waiting }] = await Promise.all([get("/api/v1/queue"), get("/api/v1/queue/entries")]);
    el("problem").hidden = true;
    el("figures").replaceChildren(
      figure("waiting or claimed", figures.depth.toLocaleString()),
      figure("claimed", figures.claimed.toLocaleString()),
      figure("oldest, minutes", (figures.oldest_s / 60).toFixed(1)),
      figure("for leads", figures.for_leads.toLocaleString()),
      figure("handed on", figures.reserved.toLocaleString()),
      figure("skips, ever", figures.skips.toLocaleString()),
      figure("leases run out, ever", figures.expired_leases.toLocaleString()),
      figure("damaged", figures.damaged.toLocaleString()),
      figure("of Valkey's memory", `${(100 * figures.memory_ratio).toFixed(0)} %`),
    );
    el("shares").replaceChildren(
      share("By reason", figures.by_reason),
      share("By label", figures.by_label),
      share("By taxonomy", figures.by_taxonomy),
    );
    rows(el("claimed"), claimed, (entry) => [
      { text: entry.event_id },
      { text: entry.lease.holder },
      { text: time(entry.lease.deadline) },
      { text: entry.expiries, number: true },
    ]);
    rows(el("for-leads"), forLeads, (entry) => [
      { text: entry.event_id },
      { text: entry.lead ? "escalated" : `${entry.answers} answers differ` },
      { text: entry.note ? `${entry.note.by}: ${entry.note.text}` : "" },
    ]);
    rows(el("waiting"), waiting, (entry) => [
      { text: entry.event_id },
      { text: time(entry.since) },
      { text: entry.expiries, number: true },
    ]);
  } catch (error) {
    el("problem").textContent = `${error.message} What is shown may be old.`;
    el("problem").hidden = false;
  }
}

renew();
setInterval(renew, EVERY_MS);
