// Passwords and tokens: made here or by the server, shown once, never kept by a page.

import { el, make, moment, table } from "/static/dom.js";

const ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"; // none that look alike
const LENGTH = 20;

/** A random password of about 116 bits. */
export function firstPassword() {
  const letters = [];
  while (letters.length < LENGTH) {
    const [byte] = crypto.getRandomValues(new Uint8Array(1));
    if (byte < 256 - (256 % ALPHABET.length)) letters.push(ALPHABET[byte % ALPHABET.length]);
  }
  return letters.join("");
}

/** Show it this once, in the element `secret`. */
export function showSecret(what, text) {
  const code = make("code", { id: "secret-text" }, text);
  const copy = make("button", { type: "button", onclick: () => navigator.clipboard?.writeText(text) }, "Copy");
  const close = make("button", { type: "button", onclick: () => (el("secret").hidden = true) }, "Hide it for good");
  el("secret").replaceChildren(`${what}, shown this once: `, code, " ", copy, " ", close);
  el("secret").hidden = false;
}

/** Tokens with a way to end each. */
export const tokenTable = (caption, tokens, revoke) =>
  table(caption, [
    { title: "For", of: (token) => token.name },
    { title: "Roles", of: (token) => [...token.roles].sort().join(", ") },
    { title: "Made", of: (token) => `${moment(token.created_at)} by ${token.created_by}` },
    { title: "Ends", of: (token) => moment(token.expires_at) },
    { title: "Last used", of: (token) => moment(token.last_used_at) },
    { title: "End it now", of: (token) => make("button", { type: "button", "aria-label": `Revoke ${token.name}`, onclick: () => revoke(token) }, "Revoke") },
  ], tokens);
