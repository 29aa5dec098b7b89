// One's own settings, password, sessions and tokens.

import { ask, get, post, put } from "/static/api.js";
import { el, moment, page, problem, table } from "/static/dom.js";
import { showSecret, tokenTable } from "/static/secrets.js";

const FLAGS = ["blur", "grey", "submit_at_once"];

async function attempt(act, told = "") {
  problem("");
  el("told").hidden = true;
  try {
    await act();
    el("told").textContent = told;
    el("told").hidden = !told;
  } catch (error) {
    problem(error.message);
  }
}

function showPreferences(preferences) {
  const { elements } = el("preferences");
  elements.theme.value = preferences.theme;
  elements.break_minutes.value = preferences.break_minutes;
  for (const name of FLAGS) elements[name].checked = preferences[name];
  document.documentElement.dataset.theme = preferences.theme;
}

async function showSessions() {
  const sessions = await get("/api/v1/me/sessions");
  el("sessions").replaceChildren(
    table("Sessions", [
      { title: "Since", of: (session) => moment(session.started_at) },
      { title: "Until at most", of: (session) => moment(session.ends_at) },
      { title: "From", of: (session) => session.address },
      { title: "Which", of: (session) => (session.this_one ? "this one" : "another") },
    ], sessions),
  );
}

async function showTokens() {
  const revoke = (token) => attempt(async () => {
    await ask("DELETE", `/api/v1/me/tokens/${token.token_id}`);
    await showTokens();
  });
  el("tokens").replaceChildren(tokenTable("Your tokens", await get("/api/v1/me/tokens"), revoke));
}

el("preferences").addEventListener("submit", (event) => {
  event.preventDefault();
  const { elements } = event.target;
  const wanted = { theme: elements.theme.value, break_minutes: Number(elements.break_minutes.value) };
  for (const name of FLAGS) wanted[name] = elements[name].checked;
  attempt(async () => showPreferences(await put("/api/v1/me/preferences", wanted)), "Saved: it holds wherever you sign in.");
});
el("password").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  attempt(async () => {
    await post("/api/v1/me/password", { old: form.elements.old.value, new: form.elements.new.value });
    form.reset();
    await showSessions();
  }, "Your password is changed.");
});
el("end-sessions").addEventListener("click", () => attempt(async () => {
  await ask("DELETE", "/api/v1/me/sessions");
  await showSessions();
}, "You are signed out everywhere else."));
el("issue").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  attempt(async () => {
    const wanted = { name: form.elements.name.value, roles: page.roles, days: Number(form.elements.days.value) };
    showSecret(`The token ${wanted.name}`, (await post("/api/v1/me/tokens", wanted)).token);
    form.reset();
    await showTokens();
  });
});

showPreferences(page.preferences);
attempt(async () => {
  el("password-panel").hidden = !(await get("/api/v1/me")).has_password;
  await Promise.all([showSessions(), showTokens()]);
});
