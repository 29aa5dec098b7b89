// What waits now, at the foot of the moderator's page, and what of it may be chosen to work on.

import { Away, get } from "/static/api.js";
import { count, el, make, span, words } from "/static/dom.js";

const EVERY_MS = 10_000;

function showChoices(figures) {
  const which = el("which");
  const before = which.value;
  const choices = [["taxonomy", figures.by_taxonomy], ["label", figures.by_label], ["reason", figures.by_reason]];
  const groups = choices.map(([kind, counts]) =>
    make("optgroup", { label: kind },
      ...Object.entries(counts)
        .filter(([name]) => kind !== "reason" || name !== "audit") // audits are nobody's choice
        .sort()
        .map(([name, tasks]) =>
          make("option", { value: String(new URLSearchParams({ [kind]: name })) }, `${kind} ${words(name)} (${count(tasks)})`)),
    ),
  );
  which.replaceChildren(...[...which.children].slice(0, 2), ...groups.filter((group) => group.children.length));
  which.value = before;
  if (which.value !== before) which.value = "by=priority";
}

/** Renew it every few seconds; `refused` is told what the server refuses. */
export function followQueue(refused) {
  const renew = async () => {
    try {
      const figures = await get("/api/v1/queue");
      el("depth").textContent = count(figures.depth);
      el("oldest").textContent = span(figures.oldest_s);
      if (document.activeElement !== el("which")) showChoices(figures);
    } catch (error) {
      if (!(error instanceof Away)) refused(error);
    }
  };
  renew();
  setInterval(renew, EVERY_MS);
}
