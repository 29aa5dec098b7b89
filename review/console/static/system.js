// How the parts are, and deleting a person's data.

import { get, post } from "/static/api.js";
import { count, el, figure, make, moment, percent, problem } from "/static/dom.js";

const EVERY_MS = 15_000;

function showDifference({ difference, compared_at: at, compared_every_s: every }) {
  const examples = [];
  if (!difference) {
    el("difference").textContent = every ? "They have not been compared yet." : "They are never compared: TIDEGATE_CONSOLE_CHECK_QUEUE_EVERY_S is 0.";
  } else if (!difference.missing && !difference.overdue) {
    el("difference").textContent = `They agree: ${count(difference.open)} events wait for a verdict, compared ${moment(at)}.`;
  } else {
    el("difference").textContent =
      `They disagree since ${moment(at)}: ${count(difference.missing)} events wait and are not in the queue, ` +
      `${count(difference.overdue)} are in it and have their verdict. \`tidegate review rebuild\` mends it.`;
    examples.push(...difference.missing_ids, ...difference.overdue_ids);
  }
  el("examples").replaceChildren(...examples.map((id) => make("li", {}, id)));
}

async function renew() {
  try {
    const system = await get("/api/v1/system");
    problem("");
    el("figures").replaceChildren(
      figure("tasks in the queue", count(system.queue.depth)),
      figure("damaged", count(system.queue.damaged)),
      figure("of Valkey's memory", percent(system.queue.memory_ratio, 0)),
    );
    showDifference(system);
  } catch (error) {
    problem(`${error.message} What is shown may be old.`);
  }
}

el("erase").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { kind, id, again } = event.target.elements;
  problem("");
  if (id.value !== again.value) {
    problem("The two ids differ: nothing was deleted.");
    return;
  }
  try {
    const receipt = await post("/api/v1/erasures", { kind: kind.value, id: id.value });
    el("receipt-text").textContent = JSON.stringify(receipt, null, 2);
    el("receipt").hidden = false;
    event.target.reset();
  } catch (error) {
    problem(`${error.message}. What was deleted stays so: do it again.`);
  }
});

renew();
setInterval(renew, EVERY_MS);
