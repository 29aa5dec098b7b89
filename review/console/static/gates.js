// The gates of every taxonomy: what is in force, what is to come, what is proposed, and how it came to that.

import { address, asked, remember, sentence } from "/static/analysis.js";
import { get } from "/static/api.js";
import { act } from "/static/by-hand.js";
import { el, make, page, problem } from "/static/dom.js";
import { begin as beginFirst, showFirst } from "/static/first-policy.js";
import { actsOf, cards } from "/static/gate-view.js";
import { settle } from "/static/morph.js";
import { proposalOf } from "/static/proposal-view.js";
import { Steps } from "/static/steps.js";

const EVERY_MS = 10_000;
const may = (permission) => page.permissions.includes(permission);

const sections = new Map();
let views = {};
let rollouts = [];

/** The parts of a taxonomy's section, made once: what they show is settled into them. */
function section(name) {
  const steps = new Steps(name);
  const part = {
    alert: make("p", { class: "away", role: "alert", hidden: true }),
    told: make("p", { class: "told", role: "status", hidden: true }),
    proposal: make("div", {}),
    cards: make("div", { class: "gate-cards" }),
    acts: make("p", { class: "acts" }),
    steps,
  };
  part.node = make("section", { class: "gates-of", "aria-label": name, "data-taxonomy": name },
    make("div", { class: "bar" }, make("h2", {}, name), make("span", { class: "links" },
      make("a", { href: address("/live", { taxonomy: name }) }, "Live"),
      may("what_if") && make("a", { href: address("/what-if", { taxonomy: name }) }, "What if"),
      make("a", { href: address("/api/v1/gates/document", { taxonomy: name }) }, "The whole record"))),
    part.alert, part.told, part.proposal, part.cards, part.acts, steps.node);
  return part;
}

function show() {
  const names = [...new Set([...Object.keys(views), ...rollouts.map(({ taxonomy }) => taxonomy)])].sort();
  choose(names);
  const chosen = el("taxonomy").value;
  for (const name of names) {
    const part = sections.get(name) ?? section(name);
    if (!sections.has(name)) el("gates").append(part.node);
    sections.set(name, part);
    part.node.hidden = chosen !== "" && chosen !== name;
    const view = views[name] ?? { policy: null, proposal: null };
    const rollout = rollouts.find(({ taxonomy }) => taxonomy === name) ?? null;
    settle(part.proposal, ...proposalOf(view));
    settle(part.cards, ...(rollout ? cards(rollout, view.policy) : []));
    settle(part.acts, ...(rollout ? actsOf(rollout, may) : []));
    part.steps.show(rollout?.steps ?? []);
  }
  el("none").hidden = names.length > 0;
  showFirst(views);
}

function choose(names) {
  const choice = el("taxonomy");
  const wanted = choice.value || (choice.options.length ? "" : asked("taxonomy") ?? "");
  const options = ["", ...names];
  if ([...choice.options].map(({ value }) => value).join("\n") !== options.join("\n"))
    choice.replaceChildren(...options.map((name) => make("option", { value: name }, name || "all")));
  choice.value = options.includes(wanted) ? wanted : "";
}

/** Read the state anew, and show it; what was there stays where it cannot be read. */
async function renew() {
  try {
    [views, rollouts] = await Promise.all([get("/api/v1/policies"), get("/api/v1/gates")]);
    problem("");
    show();
  } catch (error) {
    problem(`${sentence(error)} What is shown may be old.`);
  }
}

function say(part, { told = "", refused = "" }) {
  for (const [node, text] of [[part.told, told], [part.alert, refused]]) {
    node.textContent = text;
    node.hidden = !text;
  }
}

el("gates").addEventListener("click", async ({ target }) => {
  const button = target.closest("[data-act]");
  if (!button) return;
  const name = button.closest("[data-taxonomy]").dataset.taxonomy;
  const part = sections.get(name);
  say(part, {});
  const rollout = rollouts.find(({ taxonomy }) => taxonomy === name);
  try {
    const told = await act(button.dataset.act, name, rollout, views[name]);
    if (told) say(part, { told });
  } catch (error) {
    say(part, { refused: `${sentence(error)} The state below is the new one.` });
  }
  await renew();
});
el("taxonomy").addEventListener("change", ({ target }) => {
  remember("taxonomy", target.value);
  show();
});

beginFirst(renew);
renew();
setInterval(renew, EVERY_MS);
