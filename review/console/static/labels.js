// The labels: which always go to a person, what their errors and reviews cost, and what passes of each.

import { count, make } from "/static/dom.js";

const TITLES = ["Label", "Always to a person", "Cost of an error", "Cost of a review", "Readings", "Pass now", "Pass then", "From score"];
const CONTROLS = 4;

export class LabelTable {
  /** `turned(name, value)`: as of a knob. */
  constructor(body, policy, turned) {
    Object.assign(this, { body, policy, turned, rows: new Map() });
    body.closest("table").tHead.replaceChildren(make("tr", {}, ...TITLES.map((title, index) =>
      make("th", { scope: "col", class: index >= CONTROLS ? "number" : null }, title))));
  }

  /** The labels of an answer, with what was moved; inputs that are there stay. */
  show(labels, moved) {
    const names = labels.map(({ label }) => label);
    if (names.join("\n") !== [...this.rows.keys()].join("\n")) this.build(names, moved);
    for (const { label, readings, passes_now: now, passes_then: then, least_score: least } of labels) {
      const { figures } = this.rows.get(label);
      [count(readings), count(now), count(then), least === null ? "never" : least.toFixed(4)].forEach((text, index) => {
        figures[index].textContent = text;
      });
      figures[2].classList.toggle("differs", now !== then);
    }
  }

  build(names, moved) {
    this.rows.clear();
    const severe = moved.severe_labels ?? this.policy.severe_labels;
    for (const label of names) {
      const always = make("input", { type: "checkbox", "aria-label": `${label} always goes to a person`, onchange: () => this.turnSevere() });
      always.checked = severe.includes(label);
      const figures = [0, 1, 2, 3].map(() => make("td", { class: "number" }));
      const cost = (field, what, general) => this.cost(field, label, `Cost of ${what} of ${label}`, general, moved);
      const error = cost("label_error_costs", "an error", this.policy.label_error_costs[label] ?? this.policy.error_cost);
      const review = cost("label_review_costs", "a review", this.policy.review_cost);
      this.rows.set(label, { always, error, review, figures });
    }
    this.body.replaceChildren(...[...this.rows].map(([label, { always, error, review, figures }]) =>
      make("tr", {}, make("th", { scope: "row" }, label), make("td", { class: "middle" }, always), make("td", {}, error), make("td", {}, review), ...figures)));
  }

  cost(field, label, name, placeholder, moved) {
    const input = make("input", { type: "number", min: 0, step: "any", placeholder, "aria-label": name, oninput: () => this.turnCosts(field) });
    input.value = moved[field]?.[label] ?? "";
    return input;
  }

  turnSevere() {
    const severe = [...this.rows].filter(([, { always }]) => always.checked).map(([label]) => label);
    const others = this.policy.severe_labels.filter((label) => !this.rows.has(label));
    const chosen = [...severe, ...others].sort();
    const home = chosen.join("\n") === [...this.policy.severe_labels].sort().join("\n");
    this.turned("severe_labels", home ? null : chosen);
  }

  turnCosts(field) {
    const kind = field === "label_error_costs" ? "error" : "review";
    const given = [...this.rows].map(([label, row]) => [label, row[kind]]).filter(([, input]) => input.value !== "" && input.checkValidity());
    this.turned(field, given.length ? Object.fromEntries(given.map(([label, input]) => [label, Number(input.value)])) : null);
  }

  /** Everything as the policy has it. */
  putBack() {
    for (const [label, { always, error, review }] of this.rows) {
      always.checked = this.policy.severe_labels.includes(label);
      error.value = review.value = "";
    }
  }
}
