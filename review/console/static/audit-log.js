// Who saw and did what. The filter is in the address, so that it can be sent to a colleague.

import { get } from "/static/api.js";
import { el, make, moment, page, problem, table, words } from "/static/dom.js";

const FEW = 3;
const filter = el("filter");

function events(ids) {
  const few = ids.slice(0, FEW).flatMap((id) => [
    page.permissions.includes("see_figures") ? make("a", { href: `/events?${new URLSearchParams({ event_id: id })}` }, id) : id,
    " ",
  ]);
  return make("span", {}, ...few, ids.length > FEW ? `and ${ids.length - FEW} more` : null);
}

async function show() {
  const asked = new URLSearchParams([...new FormData(filter)].filter(([, value]) => value));
  try {
    const entries = await get(`/api/v1/audit-log?${asked}`);
    problem("");
    el("entries").replaceChildren(
      table(`${entries.length} entries`, [
        { title: "When", of: (entry) => moment(entry.at), short: true },
        { title: "Who", of: (entry) => entry.who + (entry.token_id ? ` (token ${entry.token_id})` : "") },
        { title: "What", of: (entry) => make("span", { class: entry.outcome === "refused" ? "refused" : null },
          words(entry.action) + (entry.outcome === "refused" ? ": refused" : "")) },
        { title: "Events", of: (entry) => events(entry.event_ids) },
        { title: "Detail", of: (entry) => entry.detail },
        { title: "From", of: (entry) => entry.address, short: true },
      ], entries, { empty: "Nothing of this kind." }),
    );
  } catch (error) {
    problem(error.message);
  }
}

for (const [name, value] of new URLSearchParams(location.search))
  if (filter.elements[name]) filter.elements[name].value = value;
filter.addEventListener("submit", (event) => {
  event.preventDefault();
  const given = [...new FormData(filter)].filter(([name, value]) => value && !(name === "limit" && value === "200"));
  history.replaceState(null, "", given.length ? `?${new URLSearchParams(given)}` : location.pathname);
  show();
});
show();
