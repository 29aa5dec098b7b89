// What is known of a task, put on the page: the model's reading, earlier answers, and what colleagues said.

import { el, make, percent, words } from "/static/dom.js";

/** The model's answer, or that it is not shown. */
export function showReading(task) {
  const known = task.label !== undefined && !task.blind;
  el("reading").hidden = !known;
  el("blind").hidden = known;
  if (!known) return;
  el("model-label").textContent = task.label ?? "no answer that could be read";
  el("model-reason").textContent = words(task.reason);
  el("model-score").textContent = task.probability == null ? "not calibrated" : `right with ${percent(task.probability)}`;
  el("alternatives").replaceChildren(
    ...(task.alternatives || []).slice(0, 5).map(({ label, probability }) =>
      make("li", {}, `${label} ${percent(probability)}`, make("meter", { value: probability, "aria-label": `probability of ${label}` })),
    ),
  );
  el("sections").replaceChildren(
    ...Object.entries(task.reasoning || {}).flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]),
  );
}

/** Answers that a lead is to judge between. */
export function showEarlier(answers) {
  el("earlier").hidden = !answers.length;
  el("answers").replaceChildren(...answers.map(({ reviewer, label }) => make("li", {}, `${reviewer}: ${label ?? "cannot tell"}`)));
}

/** What colleagues said of the task. */
export function showSaid({ note, forced, skips }) {
  const parts = [];
  if (note) parts.push(`${note.by}: ${note.text}`);
  if (forced) parts.push("This review was asked for.");
  if (skips) parts.push(`Skipped by ${skips}.`);
  el("said").hidden = !parts.length;
  el("said").textContent = parts.join(" ");
}

/** What was said of the same image before. */
export function showHistory(earlier) {
  el("history").hidden = !earlier.length;
  el("history-list").replaceChildren(
    ...earlier.map(({ event_id: eventId, reviewer, label, given_at: at }) =>
      make("li", {}, `${label ?? "cannot tell"}, by ${reviewer} on ${new Date(at).toLocaleDateString()} (${eventId})`),
    ),
  );
}
