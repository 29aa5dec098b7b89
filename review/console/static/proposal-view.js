// A proposed policy, and who may say yes or no to it.

import { when } from "/static/analysis.js";
import { make, page } from "/static/dom.js";
import { changeList } from "/static/reasoned.js";
import { changes } from "/static/terms.js";

const may = (permission) => page.permissions.includes(permission);
const mine = ({ proposed_by: by }) => by.toLowerCase() === page.name.toLowerCase();

/** What is to be seen of a taxonomy's newest proposal: all of an open one, a line of a rejected one. */
export function proposalOf({ policy, proposal }) {
  if (!proposal || proposal.state === "published") return [];
  if (proposal.state === "rejected")
    return [make("p", { class: "hint" }, `The last proposal, of ${proposal.proposed_by}, was ${proposal.decided_by === proposal.proposed_by ? "taken back" : `rejected by ${proposal.decided_by}`} at ${when(proposal.decided_at)}${proposal.remark ? `: ${proposal.remark}` : "."}`)];
  return [make("article", { class: "panel", "aria-label": "Proposed policy" },
    make("h3", {}, `Proposed by ${proposal.proposed_by}, ${when(proposal.proposed_at)}`),
    make("p", { class: "said" }, proposal.reason),
    changeList(changes(policy, proposal.policy)),
    make("p", { class: "acts" }, ...(may("approve_policy")
      ? [!mine(proposal) && make("button", { type: "button", class: "main", "data-act": "approve" }, "Approve and publish …"),
        make("button", { type: "button", "data-act": "reject" }, mine(proposal) ? "Take it back …" : "Reject …")].filter(Boolean)
      : ["Somebody who may approve policies decides on it."])),
    mine(proposal) && make("p", { class: "hint" }, "You proposed it: somebody else has to approve it."))];
}
