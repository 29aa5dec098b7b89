// A gate in plain words.

import { when } from "/static/analysis.js";
import { make, percent } from "/static/dom.js";

const plain = (share) => `${Number((100 * share).toPrecision(4))} %`;
const expired = ({ expires_at: until }) => until !== null && new Date(until) <= new Date();

/** Whether something passes, and why not. */
function live(gate) {
  if (!gate.passes) return ["caution", "Nothing passes: everything goes to people", `It has no certificate. Of what is read, ${plain(gate.audit_rate)} is reviewed blind, to make one.`];
  if (expired(gate)) return ["bad", "Nothing passes: its time has run out", `It expired at ${when(gate.expires_at)}, since nobody answers its audits or the loop does not run. It passes again once it is renewed.`];
  if (gate.max_error === null) return ["caution", "It passes what no certificate speaks of", "Its threshold was set by hand, and its error is not known."];
  return ["good", `It passes ${percent(gate.coverage)} of what is read`, `At most ${plain(gate.max_error)} of that is wrong, at ${plain(gate.confidence)} confidence; ${plain(gate.audit_rate)} of it is audited.`];
}

function candidate(gate, policy) {
  const does = gate.stage === "shadow"
    ? `In shadow: it would pass ${percent(gate.coverage)} of what is read`
    : `In canary: it passes ${percent(gate.coverage)} of what it routes`;
  const stage = gate.stage === "shadow"
    ? "It scores beside the live gate and routes nothing, until enough readings show that the traffic is as it was."
    : `It routes ${policy ? plain(policy.canary_share) : "a share"} of the events, until enough of its audits are answered.`;
  return [expired(gate) ? "bad" : "plain", does, expired(gate) ? `${stage} It expired at ${when(gate.expires_at)}.` : stage];
}

const previous = (gate) => ["plain", gate.passes ? `It passed ${percent(gate.coverage)} of what was read` : "Under it nothing passed", "It was the live one before."];

function facts(gate) {
  const of = {
    Promise: gate.max_error === null ? "none" : `at most ${plain(gate.max_error)} wrong, at ${plain(gate.confidence)}`,
    Audits: plain(gate.audit_rate),
    Until: gate.expires_at === null ? "no end" : when(gate.expires_at),
    Made: when(gate.created_at),
    Policy: gate.policy,
    Calibrator: gate.calibrator,
  };
  return make("dl", { class: "facts" }, ...Object.entries(of).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

const card = (title, gate, [tone, heading, text]) =>
  make("article", { class: `verdict-on ${tone}`, "aria-label": title },
    make("p", { class: "about" }, make("b", {}, title), " ", make("span", { class: "hash" }, gate.gate_id)),
    make("p", { class: "heading" }, heading), make("p", {}, text), facts(gate));

/** The gates of a rollout. */
export const cards = (rollout, policy) => [
  card("Live", rollout.live, live(rollout.live)),
  rollout.candidate && card("Candidate", rollout.candidate, candidate(rollout.candidate, policy)),
  rollout.previous && card("Before", rollout.previous, previous(rollout.previous)),
].filter(Boolean);

/** What may be done by hand, as far as there is something to do it to. */
export function actsOf({ live: gate, candidate: next, previous: before }, may) {
  const button = (act, name) => make("button", { type: "button", "data-act": act }, name);
  return [
    may("shut_gate") && (gate.passes || next) && button("shut", "Shut the gate …"),
    may("promote_gate") && next && button("promote", next.stage === "shadow" ? "Promote to canary …" : "Promote to full force …"),
    may("roll_back") && (next || before) && button("roll-back", next ? "Give the candidate up …" : "Put the gate before back …"),
  ].filter(Boolean);
}
