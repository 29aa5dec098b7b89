// How far reviewers agree, by taxonomy, and each beside the others.

import { address, between, mayExport, sentence, shareOf, tile } from "/static/analysis.js";
import { get } from "/static/api.js";
import { count, el, make, percent, problem, table } from "/static/dom.js";

/** What alpha is customarily taken to mean (Krippendorff, Content Analysis, ch. 12). */
function meaning({ value, low, high }) {
  if (low >= 0.8) return "reliable, by custom: 0.8 or more";
  if (high < 0.667) return "too little to rely on, by custom: below 0.667";
  if (value >= 0.8) return "probably reliable: the interval reaches below 0.8";
  return "for tentative conclusions, by custom";
}

function section(taxonomy, { agreement: { events, alpha, confused }, reviewers }) {
  const id = `taxonomy-${taxonomy}`;
  return make("section", { "aria-labelledby": id },
    make("div", { class: "bar" }, make("h2", { id }, taxonomy),
      mayExport && make("a", { href: address("/api/v1/analysis/agreement/csv", { taxonomy }), download: "reviewers.csv", "aria-label": `Reviewers of ${taxonomy} as CSV` }, "CSV")),
    make("ul", { class: "figures few" },
      tile("Krippendorff's alpha", alpha ? alpha.value.toFixed(3) : "not defined", {
        more: alpha ? [`between ${alpha.low.toFixed(3)} and ${alpha.high.toFixed(3)}`, meaning(alpha)] : ["no image has two different answers, or all are the same"],
      }),
      tile("images with two answers or more", count(events)),
      tile("reviewers", count(reviewers.length)),
      tile("answers", count(reviewers.reduce((sum, { answers }) => sum + answers, 0)))),
    table("Each beside the others", [
      { title: "Reviewer", of: (each) => each.name, short: true },
      { title: "Answers", of: (each) => count(each.answers), number: true },
      { title: "Shared", of: (each) => count(each.shared), number: true },
      { title: "Agree with others", of: (each) => shareOf(each.agreeing), number: true },
      { title: "Decided by a lead", of: (each) => count(each.adjudicated), number: true },
      { title: "Upheld", of: (each) => shareOf(each.upheld), number: true },
      { title: "Golden items", of: (each) => count(each.checked), number: true },
      { title: "Right", of: (each) => shareOf(each.right), number: true },
      { title: "Cannot tell", of: (each) => percent(each.cannot_tell), number: true },
      { title: "Median", of: (each) => `${each.median_s.toFixed(1)} s`, number: true },
    ], reviewers),
    make("div", { class: "confused" }, table("What is taken for what", [
      { title: "One said", of: ([one]) => one, short: true },
      { title: "the other", of: ([, other]) => other, short: true },
      { title: "Pairs", of: ([, , pairs]) => count(pairs), number: true },
    ], confused, { empty: "No two answers differ." })));
}

async function show() {
  try {
    const found = Object.entries(await get("/api/v1/analysis/agreement"));
    el("taxonomies").replaceChildren(...found.map(([taxonomy, report]) => section(taxonomy, report)));
    if (!found.length) problem("Nobody has given a verdict yet.");
  } catch (error) {
    problem(sentence(error));
  }
  el("waiting").hidden = true;
}

show();
