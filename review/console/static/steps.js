// How the gates of a taxonomy came to be what they are: their steps, filtered.

import { when } from "/static/analysis.js";
import { make, table } from "/static/dom.js";
import { settle } from "/static/morph.js";

/** What each kind of step changed. */
const CHANGED = {
  collecting: "Audits are collected for the next certificate",
  refused: "Nothing was certified; what was live stays",
  shadow: "A new gate scores beside the live one, and routes nothing",
  canary: "The candidate routes its share of the events",
  full: "The gate became the live one",
  renewed: "The gate lasts longer",
  expired: "The gate's time ran out: nothing passes until it is renewed",
  rolled_back: "The gate was given up",
  shut: "The gate was shut: everything goes to people",
};
const HAND = "by hand: ";

export class Steps {
  constructor(name) {
    this.steps = [];
    this.kind = make("select", { onchange: () => this.draw() },
      make("option", { value: "" }, "all"), make("option", { value: HAND }, "by people"),
      ...Object.keys(CHANGED).map((kind) => make("option", { value: kind }, kind.replaceAll("_", " "))));
    this.text = make("input", { type: "search", placeholder: "gate, reason, person", oninput: () => this.draw() });
    this.list = make("div", { class: "captioned" });
    this.count = make("span", { class: "about", role: "status" });
    this.node = make("div", { class: "history" },
      make("div", { class: "bar" }, make("h3", {}, "History"), make("label", {}, "Steps ", this.kind), make("label", {}, "with ", this.text), this.count),
      this.list);
    this.name = name;
  }

  show(steps) {
    this.steps = steps;
    this.draw();
  }

  draw() {
    const text = this.text.value.trim().toLowerCase();
    const kind = this.kind.value;
    const found = this.steps.filter((step) =>
      (kind === HAND ? step.reasons.some((reason) => reason.startsWith(HAND)) : !kind || step.kind === kind)
      && (!text || `${step.gate_id} ${step.reasons.join(" ")}`.toLowerCase().includes(text)));
    this.count.textContent = `${found.length} of ${this.steps.length}, the newest first`;
    settle(this.list, table(`History of ${this.name}`, [
      { title: "When", of: ({ at }) => when(at), short: true },
      { title: "What changed", of: (step) => CHANGED[step.kind] ?? step.kind },
      { title: "Gate", of: ({ gate_id: id }) => make("span", { class: "hash" }, id) },
      { title: "Why", of: ({ reasons }) => make("ul", { class: "said-list" }, ...reasons.map((reason) => make("li", {}, reason))) },
    ], found, { empty: "No such steps." }));
  }
}
