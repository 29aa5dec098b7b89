// One event: what was decided, what was said, the image on demand, and what may be done about it.

import { address, sentence } from "/static/analysis.js";
import { get, imageOf, post } from "/static/api.js";
import { asked, el, make, moment, page, percent, problem, words } from "/static/dom.js";

const may = (permission) => page.permissions.includes(permission);

function tell(text) {
  el("told").textContent = text;
  el("told").hidden = false;
}

function facts(item) {
  const { verdict } = item;
  return {
    Taxonomy: make("a", { href: address("/live", { taxonomy: item.taxonomy }) }, item.taxonomy),
    Decided: moment(item.decided_at),
    Label: item.label ?? "the answer could not be read",
    Score: item.probability === null ? "none" : `right with ${percent(item.probability)}`,
    Route: item.route === "auto_accept" ? "passed without a person" : "to people",
    Reason: words(item.reason),
    Audit: item.audited ? `drawn for a blind review; ${item.would_pass ? "it would have passed" : "it would not have passed"}` : "not drawn",
    Source: item.source || "none",
    Gate: make("a", { href: address("/gates", { taxonomy: item.taxonomy }) }, item.gate),
    "Content, SHA-256": item.content_sha256 ? make("span", { class: "hash" }, item.content_sha256) : "not known",
    "Record of the decision": `partition ${item.partition}, offset ${item.offset}`,
    Verdict: verdict
      ? make("span", {}, make("b", { class: verdict.wrong ? "wrong" : "right" }, verdict.label ?? "cannot tell"), verdict.wrong ? ": the model was wrong" : ": the model was right")
      : "none yet",
    ...(verdict && {
      "Given by": `${verdict.reviewer}, ${moment(verdict.given_at)}${verdict.blind ? ", blind" : ""}`,
      Disagreement: verdict.contradicted ? "verdicts on it differ; this is the one that counts" : "none",
    }),
  };
}

/** Load the image, veiled as its viewer likes; a second press lifts the veil, a third lets it down again. */
function picture(eventId) {
  const { blur, grey } = page.preferences;
  const frame = el("frame");
  const button = el("reveal");
  const veiled = blur || grey;
  frame.classList.toggle("blurred", blur);
  frame.classList.toggle("grey", grey);
  const image = make("img", { alt: `The image of ${eventId}` });
  button.addEventListener("click", async () => {
    if (image.isConnected) {
      const on = frame.classList.toggle("revealed");
      button.textContent = on ? "Hide" : "Reveal";
      return;
    }
    button.disabled = true;
    image.src = imageOf(eventId);
    try {
      await image.decode();
      frame.replaceChildren(image);
      button.textContent = "Reveal";
      button.hidden = !veiled;
    } catch {
      el("image-note").textContent = await reason(eventId);
    }
    button.disabled = false;
  });
}

/** Why there is no image, in the server's words. */
async function reason(eventId) {
  try {
    await get(imageOf(eventId));
  } catch (error) {
    return `The image cannot be had: ${sentence(error)}`;
  }
  return "The image cannot be shown.";
}

async function act(work, done) {
  el("told").hidden = true;
  problem("");
  try {
    tell(done(await work()));
  } catch (error) {
    problem(sentence(error));
  }
}

async function askForReview(item) {
  const note = await asked(`Have ${item.event_id} reviewed, whatever became of it?`, { label: "Why? Reviewers read this", button: "Ask for a review" });
  if (note === null) return;
  act(() => post("/api/v1/reviews", { event_id: item.event_id, note }),
    ({ added }) => (added ? "It waits for review, in front of the others." : "It waits for review already, and now in front of the others."));
}

function makeGolden(item) {
  const dialog = el("golden");
  el("golden-label").value = (item.verdict ? item.verdict.label : item.label) ?? "";
  el("golden-none").checked = Boolean(item.verdict) && item.verdict.label === null;
  el("golden-note").value = "";
  dialog.returnValue = "";
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "yes") return;
    const label = el("golden-none").checked ? null : el("golden-label").value.trim();
    const note = el("golden-note").value.trim();
    act(() => post("/api/v1/golden", { event_id: item.event_id, label, note }), () => `It is a golden item now: ${label ?? "cannot tell"} is right.`);
  }, { once: true });
  dialog.showModal();
}

function acts(item) {
  const button = (name, work) => make("button", { type: "button", onclick: work }, name);
  return [
    may("force_review") && button("Ask for a review", () => askForReview(item)),
    may("manage_golden") && button("Make it golden", () => makeGolden(item)),
  ].filter(Boolean);
}

/** Show it, or say why it cannot be shown. */
export async function showEvent(eventId) {
  document.title = `${eventId} · Tidegate`;
  try {
    const item = await get(address("/api/v1/analysis/item", { event_id: eventId }));
    el("event-title").textContent = item.event_id;
    el("facts").replaceChildren(...Object.entries(facts(item)).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
    el("acts").replaceChildren(...acts(item));
    if (may("see_task")) picture(item.event_id);
    else el("reveal").hidden = true;
    el("event").hidden = false;
  } catch (error) {
    problem(sentence(error));
  }
}
