// Accounts: who may come in, as what, and with which tokens.

import { ask, get, post } from "/static/api.js";
import { asked, el, make, moment, page, problem, table, words } from "/static/dom.js";
import { firstPassword, showSecret, tokenTable } from "/static/secrets.js";

let users = [];
let chosen = null; // name of the account that is looked at

const rolesOf = (form) => [...form.elements.role].filter((box) => box.checked).map((box) => box.value);
const account = () => users.find((user) => user.name === chosen);

/** Do something, say what the server refuses, and show what there is afterwards. */
async function attempt(act) {
  problem("");
  try {
    await act();
  } catch (error) {
    problem(error.code === "changed" ? `${error.message}. It is shown as it is now.` : `${error.message}`);
  }
  await renew();
}

async function renew() {
  try {
    users = await get("/api/v1/users");
  } catch (error) {
    problem(error.message);
    return;
  }
  el("users").replaceChildren(
    table("Accounts", [
      { title: "Name", of: (user) => make("button", { type: "button", class: "link", onclick: () => choose(user.name) }, user.name) },
      { title: "Shown as", of: (user) => user.display_name },
      { title: "Roles", of: (user) => [...user.roles].sort().join(", ") || "none" },
      { title: "Comes in by", of: way },
      { title: "Tokens", of: (user) => String(user.tokens.length), number: true },
      { title: "Changed", of: (user) => `${moment(user.changed_at)} by ${user.changed_by}` },
    ], users),
  );
  if (chosen !== null) await showOne();
}

function way(user) {
  if (user.disabled) return "disabled";
  return [user.has_password && "password", user.oidc_subject && "single sign-on"].filter(Boolean).join(", ") || "nothing";
}

function choose(name) {
  chosen = name;
  showOne().then(() => el("one").scrollIntoView({ block: "nearest" }));
}

async function showOne() {
  const user = account();
  el("one").hidden = !user;
  if (!user) return;
  el("one-title").textContent = user.name;
  const form = el("change");
  form.elements.display_name.value = user.display_name;
  for (const box of form.elements.role) box.checked = user.roles.includes(box.value);
  el("disable").textContent = user.disabled ? "Enable" : "Disable";
  const tokens = await get(`/api/v1/users/tokens?${new URLSearchParams({ name: user.name })}`);
  el("tokens").replaceChildren(tokenTable("API tokens", tokens, (token) => attempt(() =>
    ask("DELETE", `/api/v1/users/tokens?${new URLSearchParams({ name: user.name, token_id: token.token_id })}`))));
}

const change = (changes) => ask("PATCH", "/api/v1/users", { name: chosen, revision: account().revision, ...changes });

/** A word of theirs that says they mean it. */
const meant = (what) => asked(`${what} Type the name ${chosen} to go on.`, { label: "Name", button: "Go on" }).then((typed) => typed === chosen);

el("add").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  const name = form.elements.name.value.trim();
  const password = form.elements.with_password.checked ? firstPassword() : null;
  attempt(async () => {
    await post("/api/v1/users", { name, display_name: form.elements.display_name.value, roles: rolesOf(form), password });
    if (password) showSecret(`The first password of ${name}`, password);
    form.reset();
    chosen = name;
  });
});
el("change").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  attempt(() => change({ display_name: form.elements.display_name.value, roles: rolesOf(form) }));
});
el("password").addEventListener("click", async () => {
  if (!(await meant("They are signed out everywhere, and come in with a new password only."))) return;
  const password = firstPassword();
  attempt(async () => {
    await change({ password });
    showSecret(`The new password of ${chosen}`, password);
  });
});
el("disable").addEventListener("click", async () => {
  const { disabled } = account();
  if (!disabled && !(await meant("They are signed out everywhere and let in no more; the account stays."))) return;
  attempt(() => change({ disabled: !disabled }));
});
el("delete").addEventListener("click", async () => {
  if (!(await meant("The account goes for good, with its tokens and settings."))) return;
  attempt(async () => {
    await ask("DELETE", `/api/v1/users?${new URLSearchParams({ name: chosen })}`);
    chosen = null;
    el("one").hidden = true;
  });
});
el("issue").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  attempt(async () => {
    const wanted = { owner: chosen, name: form.elements.name.value, roles: account().roles, days: Number(form.elements.days.value) };
    showSecret(`The token ${wanted.name} of ${chosen}`, (await post("/api/v1/users/tokens", wanted)).token);
    form.reset();
  });
});

async function showMatrix() {
  const all = await get("/api/v1/roles");
  el("matrix").replaceChildren(
    table("Who may do what", [
      { title: "To", of: (each) => each.group },
      { title: "What", of: (each) => each.meaning },
      { title: "Roles", of: (each) => each.roles.map(words).join(", "), short: true },
    ], all),
  );
}

chosen = new URLSearchParams(location.search).get("name") ?? (page.name || null);
attempt(showMatrix);
