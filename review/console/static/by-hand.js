// What people do to gates and proposals: each says what it does, and asks for the reason.

import { Refused, post } from "/static/api.js";
import { make } from "/static/dom.js";
import { changeList, reasoned } from "/static/reasoned.js";
import { changes } from "/static/terms.js";

const GATES = {
  shut: (name, { candidate }) => ({
    title: `Shut the gate of ${name}`, button: "Shut it", done: "The gate is shut.",
    what: `Within a poll of the workers everything goes to people${candidate ? `, and candidate ${candidate.gate_id} is given up` : ""}. It opens again only by a new certificate, made of what is decided from now on.`,
  }),
  promote: (name, { candidate, live }) => ({
    title: `Promote ${candidate.gate_id} of ${name}`, button: "Promote it", done: candidate.stage === "shadow" ? `${candidate.gate_id} is in canary.` : `${candidate.gate_id} is in full force.`,
    what: candidate.stage === "shadow"
      ? "It goes from shadow to canary and routes its share of the events from now on, without waiting for more readings to be scored."
      : `It takes the place of ${live.gate_id} and routes everything from now on, without waiting for more of its audits to be answered.`,
  }),
  "roll-back": (name, { candidate, live, previous }) =>
    candidate
      ? {
        title: `Give ${candidate.gate_id} of ${name} up`, button: "Give it up", done: `${candidate.gate_id} is given up.`,
        what: `The live gate, ${live.gate_id}, stays. The next candidate is made of what is decided from now on.`,
      }
      : {
        title: `Put ${previous.gate_id} of ${name} back`, button: "Put it back", done: `${previous.gate_id} is the live one again.`,
        what: `It takes the place of ${live.gate_id}, where its certificate still holds. The next candidate is made of what is decided from now on.`,
      },
};

/** A page that was overtaken cannot go on: its dialog closes, and the new state is shown. */
const overtaken = (error) => error instanceof Refused && (error.code === "changed" || error.status === 404);

async function byHand(kind, name, rollout) {
  const { title, button, done, what } = GATES[kind](name, rollout);
  const after = await reasoned({
    title, button, fatal: overtaken, body: [make("p", {}, what)], label: "Reason, for those who read the history",
    act: (reason) => post(`/api/v1/gates/${kind}`, { taxonomy: name, sequence: rollout.sequence, reason }),
  });
  return after && done;
}

async function decide(approve, name, { policy, proposal }) {
  const said = await reasoned({
    title: approve ? `Publish the policy that ${proposal.proposed_by} proposed` : `Leave the policy of ${name} as it is`,
    button: approve ? "Approve and publish" : "Reject",
    body: [changeList(changes(policy, proposal.policy)), approve && make("p", {}, "The loop acts on it at its next look: a stricter promise shuts the gate until a new one is certified, and under a looser one the gate stays until then.")].filter(Boolean),
    label: "Remark, where there is something to say", least: 0, fatal: overtaken,
    act: (remark) => post("/api/v1/policies/decisions", { taxonomy: name, proposal_id: proposal.proposal_id, approve, remark }),
  });
  return said && (approve ? `Policy ${said.policy.policy_id} is published.` : "The proposal is rejected; the policy stays as it is.");
}

/** Do what a button says; resolves to what was done, in a sentence, or to null. */
export const act = (kind, name, rollout, view) =>
  kind === "approve" || kind === "reject" ? decide(kind === "approve", name, view) : byHand(kind, name, rollout);
