// What would be under another policy: knobs, and the answer beside them as they move.

import { asked, sentence } from "/static/analysis.js";
import { showAnswer } from "/static/answer.js";
import { get } from "/static/api.js";
import { Asker } from "/static/asker.js";
import { count, el, make, page, problem, span } from "/static/dom.js";
import { Examples } from "/static/examples.js";
import { buildKnobs } from "/static/knobs.js";
import { LabelTable } from "/static/labels.js";
import { afterwards, propose } from "/static/propose.js";
import { fromAddress, outdated, termsOf, toAddress } from "/static/question.js";

const EXAMPLES = 12;
const mayPropose = page.permissions.includes("propose_policy");

const examples = new Examples({
  to_pass: { list: el("to-pass"), heading: el("to-pass-title"), caption: "Would pass, and go to people now" },
  to_review: { list: el("to-review"), heading: el("to-review-title"), caption: "Would go to people, and pass now" },
});
const asker = new Asker("/api/v1/analysis/what-if", { answered, refused, away });

let taxonomy = null;
let inForce = null; // the policy
let needsApproval = false;
let moved = {};
let knobs = {};
let labels = null;
let answer = null; // of the newest question, or null while it is on its way

function note(text) {
  el("note").textContent = text;
  el("note").hidden = !text;
}

function tell(text) {
  el("told").textContent = text;
  el("told").hidden = !text;
}

// ---- asking

function turn(name, value) {
  if (value === null) delete moved[name];
  else moved[name] = value;
  tell("");
  ask();
}

function ask() {
  history.replaceState(null, "", toAddress(taxonomy, moved));
  answer = null;
  settleButtons();
  el("answer").setAttribute("aria-busy", "true");
  asker.ask({ taxonomy, question: structuredClone(moved), examples: EXAMPLES });
}

function answered(found, ms, question) {
  problem("");
  answer = found;
  const behind = outdated(inForce, found.policy, question.question);
  note(behind ? "These figures are of the policy before: the survey under the present one is being made." : "");
  if (behind) {
    answer = null;
    asker.later(question);
  }
  showAnswer(found);
  labels.show(found.labels, moved);
  examples.show(found);
  el("took").textContent = `answered in ${ms < 2_000 ? `${count(ms)} ms` : span(ms / 1000)}`;
  el("answer").hidden = false;
  el("answer").setAttribute("aria-busy", String(behind));
  settleButtons();
}

function refused(error) {
  note("");
  problem(sentence(error));
  el("answer").setAttribute("aria-busy", "false");
}

function away(error) {
  problem("");
  note(`${sentence(error)} The question is asked again by itself.`);
}

function settleButtons() {
  const terms = answer === null ? {} : termsOf(inForce, answer.policy, moved);
  el("put-back").disabled = !Object.keys(moved).length;
  el("propose").disabled = !Object.keys(terms).length;
}

// ---- knobs

function showPromise() {
  const groups = Array.isArray(inForce.promise);
  const choices = [["joint", "of everything together"], ["per_label", "of each label alone"]];
  if (groups) choices.unshift(["", `of each group: ${inForce.promise.map((group) => group.join(" + ")).join("; ")}`]);
  el("promise").replaceChildren(...choices.map(([value, text]) => make("option", { value }, text)));
  el("promise").value = moved.promise ?? (groups ? "" : inForce.promise);
}

function build() {
  knobs = buildKnobs(el("knobs"), inForce, turn);
  for (const [name, knob] of Object.entries(knobs)) knob.show(moved[name] ?? null);
  labels = new LabelTable(el("labels-body"), inForce, turn);
  showPromise();
}

function putBack() {
  moved = {};
  for (const knob of Object.values(knobs)) knob.show(null);
  labels.putBack();
  showPromise();
  ask();
}

el("promise").addEventListener("change", ({ target }) =>
  turn("promise", target.value === "" || target.value === inForce.promise ? null : target.value));
el("put-back").addEventListener("click", putBack);
el("reveal").addEventListener("click", ({ currentTarget }) => examples.reveal(currentTarget));
document.addEventListener("keydown", (event) => {
  if (event.key !== "r" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("dialog, input:not([type=range]):not([type=checkbox]), select, textarea")) return;
  event.preventDefault();
  examples.reveal(el("reveal"));
});

// ---- proposing

el("propose").hidden = !mayPropose;
el("propose").addEventListener("click", async () => {
  const before = inForce;
  try {
    await load();
  } catch (error) {
    return problem(sentence(error));
  }
  if (inForce.policy_id !== before.policy_id) {
    build();
    tell(`Meanwhile ${inForce.author || "somebody"} has published policy ${inForce.policy_id}: look at what would change now.`);
    return ask();
  }
  if (answer === null) return null;
  const made = await propose(taxonomy, inForce, termsOf(inForce, answer.policy, moved), {
    byLabel: "label_review_costs" in moved, counted: "reviewers" in moved || "hours_per_reviewer" in moved, needsApproval,
  });
  if (made === null) return null;
  tell(afterwards(made));
  if (made.state !== "published") return null;
  inForce = made.policy;
  moved = {};
  build();
  return ask();
});

// ---- which taxonomy

/** Read the policies; shows why where there is none to ask about. */
async function load() {
  const views = await get("/api/v1/policies");
  const names = Object.keys(views).filter((name) => views[name].policy);
  taxonomy = taxonomy ?? asked("taxonomy") ?? names[0] ?? null;
  const choice = el("taxonomy");
  choice.replaceChildren(...[...new Set([...names, ...(taxonomy ? [taxonomy] : [])])].map((name) => make("option", { value: name }, name)));
  choice.value = taxonomy ?? "";
  inForce = views[taxonomy]?.policy ?? null;
  needsApproval = views[taxonomy]?.needs_approval ?? false;
}

el("taxonomy").addEventListener("change", ({ target }) => location.assign(toAddress(target.value, {})));

async function begin() {
  try {
    await load();
  } catch (error) {
    note(`${sentence(error)} It is asked again by itself.`);
    setTimeout(begin, 2_000);
    return;
  }
  note("");
  if (inForce === null) {
    el("no-policy").hidden = false;
    return;
  }
  moved = fromAddress(location.search);
  build();
  el("decide").hidden = false;
  note("The readings of the last weeks are being surveyed: the first time, that takes some seconds.");
  ask();
}

begin();
