// The first policy of a taxonomy: the least that it needs; what-ifs and the rest follow.

import { sentence } from "/static/analysis.js";
import { Away, Refused, post } from "/static/api.js";
import { el, page, problem } from "/static/dom.js";
import { afterwards } from "/static/propose.js";

const number = (id, factor = 1) => Number((Number(el(id).value) / factor).toPrecision(9));
let known = {};
let opened = false;

/** Know which taxonomies have a policy; the form stands open where none has. */
export function showFirst(views) {
  known = views;
  if (opened) return;
  opened = true;
  if (!Object.values(views).some(({ policy }) => policy)) el("first").open = true;
}

/** Have the form publish, or propose; `done()` shows what is there then. */
export function begin(done) {
  const form = el("first-form");
  form.hidden = !page.permissions.includes("propose_policy");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const taxonomy = el("first-taxonomy").value.trim();
    problem("", "first-problem");
    if (known[taxonomy]?.policy)
      return problem(`${taxonomy} has a policy: change it on the page What if.`, "first-problem");
    const severe = el("first-severe").value.split(",").map((label) => label.trim()).filter(Boolean);
    const terms = {
      max_error: number("first-error", 100), confidence: number("first-confidence", 100),
      error_cost: number("first-error-cost"), review_cost: number("first-review-cost"), severe_labels: severe,
    };
    try {
      const made = await post("/api/v1/policies", { taxonomy, terms, reason: el("first-reason").value.trim() });
      form.reset();
      el("first-told").textContent = afterwards(made);
      el("first-told").hidden = false;
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error;
      problem(sentence(error), "first-problem");
    }
    return done();
  });
}
