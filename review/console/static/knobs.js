// The knobs of a policy: a slider with a number beside it, the value in force, and a way back to it.

import { make } from "/static/dom.js";
import { byRatio, bySize } from "/static/scales.js";

const PERCENT = { unit: "%", factor: 100 };
const PLAIN = { unit: "", factor: 1 };

/** `name`: of the question's field. `low`, `high`: what the server takes. `inForce`: of a policy; null where it says nothing. */
const KNOBS = [
  ["The promise", [
    { name: "max_error", title: "Max error", ...PERCENT, scale: byRatio(0.001, 0.5), low: 1e-6, high: 0.999999, hint: "of what passes, at most this share is wrong" },
    { name: "confidence", title: "Confidence", ...PERCENT, scale: bySize(0.55, 0.995, 0.005), low: 0.500001, high: 0.999999, hint: "with which that holds" },
    { name: "max_label_error", title: "Max label error", ...PERCENT, scale: byRatio(0.01, 1), low: 1e-6, high: 1, hint: "seen of one label; above it, it does not pass. 100 %: no cap", inForce: (policy) => policy.max_label_error ?? 1 },
  ]],
  ["Costs", [
    { name: "error_cost", title: "Error", ...PLAIN, scale: byRatio(0.1, 1000, { zero: true }), low: 0, hint: "of one wrong decision that passed" },
    { name: "review_cost", title: "Review", ...PLAIN, scale: byRatio(0.01, 100, { zero: true }), low: 0, hint: "of one review, in the same unit" },
    { name: "reviewer_scarcity", title: "Scarcity", ...PLAIN, scale: byRatio(0.05, 100, { zero: true }), low: 0, hint: "added to a review's cost while reviewers are few" },
  ]],
  ["Reviewers and audits", [
    { name: "audit_rate", title: "Audit rate", ...PERCENT, scale: byRatio(0.01, 1), low: 0.01, high: 1, hint: "of what could pass, seen blind by a person", inForce: (policy) => policy.audit_rates.full },
    { name: "reviews_per_day", title: "Reviews a day", ...PLAIN, scale: byRatio(10, 1e6), low: 1e-6, hint: "that reviewers can do" },
    { name: "reviewers", title: "or reviewers", ...PLAIN, scale: byRatio(1, 500), low: 1e-6, hint: "as fast as was measured; they count before reviews a day", inForce: () => null },
    { name: "hours_per_reviewer", title: "with hours each", ...PLAIN, scale: bySize(0.5, 24, 0.5), low: 1e-6, high: 24, hint: "a day", inForce: () => 6 },
  ]],
];

/** The fields of a question that are numbers. */
export const NUMBERS = KNOBS.flatMap(([, knobs]) => knobs.map(({ name }) => name));

export const shown = (value, { unit, factor }) =>
  value === null || value === undefined ? "not said" : `${Number((factor * value).toPrecision(6)).toLocaleString()}${unit && ` ${unit}`}`;

class Knob {
  constructor(what, policy, turned) {
    this.what = what;
    this.turned = turned;
    this.inForce = what.inForce ? what.inForce(policy) : policy[what.name];
    const { name, title, unit, factor, scale, low, high, hint } = what;
    this.slider = make("input", {
      type: "range", id: `knob-${name}`, min: 0, max: scale.steps, step: 1, "aria-describedby": `hint-${name}`,
      oninput: () => this.slide(),
    });
    this.number = make("input", {
      type: "number", id: `number-${name}`, min: factor * low, max: high && factor * high, step: "any", placeholder: "–",
      "aria-label": `${title}, as a number${unit && ` in ${unit}`}`, oninput: () => this.type(), onblur: () => this.show(this.value),
    });
    this.back = make("button", {
      type: "button", class: "back", "aria-label": `Put ${title} back to ${shown(this.inForce, what)}`, title: "Put back", onclick: () => this.putBack(),
    }, "↺");
    this.node = make("div", { class: "knob" },
      make("label", { for: `knob-${name}` }, title),
      make("span", { class: "range was" }, this.inForce === null ? "not said" : `in force ${shown(this.inForce, what)}`),
      this.slider, make("span", { class: "number-of" }, this.number, make("span", { class: "unit" }, unit)), this.back,
      make("small", { id: `hint-${name}` }, hint));
    this.show(null);
  }

  /** Show a value; null: the one in force. */
  show(value) {
    const { scale, factor } = this.what;
    this.value = value;
    const now = value ?? this.inForce;
    this.slider.value = now === null ? 0 : scale.step(now);
    this.slider.setAttribute("aria-valuetext", shown(now, this.what));
    if (document.activeElement !== this.number || value === null)
      this.number.value = now === null ? "" : Number((factor * now).toPrecision(6));
    this.node.classList.toggle("moved", value !== null);
    this.back.disabled = value === null;
  }

  slide() {
    const { scale } = this.what;
    const step = Number(this.slider.value);
    const home = this.inForce !== null && step === scale.step(this.inForce);
    this.turn(home ? null : scale.at(step));
  }

  type() {
    const { factor } = this.what;
    if (this.number.value === "" || !this.number.checkValidity()) return;
    const value = Number((Number(this.number.value) / factor).toPrecision(9));
    this.turn(value === this.inForce ? null : value);
  }

  putBack() {
    this.turn(null);
    this.slider.focus();
  }

  turn(value) {
    this.show(value);
    this.turned(this.what.name, value);
  }
}

/** Build all knobs into `form`, before what stands there; returns them by name. `turned(name, value)`: null is "put back". */
export function buildKnobs(form, policy, turned) {
  const knobs = KNOBS.map(([, inGroup]) => inGroup.map((what) => new Knob(what, policy, turned)));
  const groups = KNOBS.map(([title], index) =>
    make("fieldset", {}, make("legend", {}, title), ...knobs[index].map(({ node }) => node)));
  form.replaceChildren(...groups);
  return Object.fromEntries(knobs.flat().map((knob) => [knob.what.name, knob]));
}
