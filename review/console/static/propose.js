// Proposing the policy that was asked about.

import { post } from "/static/api.js";
import { make } from "/static/dom.js";
import { changeList, reasoned } from "/static/reasoned.js";
import { changes } from "/static/terms.js";

/** What happens next, in words. */
export function afterwards({ state, policy, proposal_id: id }) {
  if (state === "open")
    return `${id} waits for a second person, on the page Gates. Until then nothing changes.`;
  return `Policy ${policy.policy_id} is published. The loop acts on it at its next look, within seconds: a stricter promise shuts the gate until a new one is certified, and under a looser one the gate stays until then. The page Gates shows it.`;
}

/** Ask for the reason, and propose; resolves to the proposal, or to null. */
export function propose(taxonomy, inForce, terms, { byLabel, counted, needsApproval }) {
  const said = changes(inForce, { ...inForce, ...terms });
  return reasoned({
    title: `A policy for ${taxonomy}`,
    body: [
      make("p", {}, "This changes:"), changeList(said),
      byLabel && make("p", { class: "hint" }, "Costs of reviews by label are said in costs of errors: routing asks for their ratio only."),
      counted && make("p", { class: "hint" }, "Reviewers and their hours are no part of a policy."),
      make("p", { class: "hint" }, needsApproval ? "Somebody else has to approve it before it is published." : "It is published at once."),
    ].filter(Boolean),
    label: "Reason, for those who read the history",
    button: "Propose",
    act: (reason) => post("/api/v1/policies", { taxonomy, terms, reason }),
  });
}
