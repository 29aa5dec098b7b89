// Acts that ask for a reason: a dialog that says what will happen, and that stays with the server's own words where it refuses.

import { sentence } from "/static/analysis.js";
import { make } from "/static/dom.js";

/** A list of changes, old and new. */
export const changeList = (changes) =>
  make("ul", { class: "changes" }, ...changes.map(({ name, before, after }) =>
    make("li", {}, `${name}: `, before === null ? null : make("s", {}, before), before === null ? null : " → ", make("b", {}, after))));

/**
 * Ask, and do it. Resolves to what `act(reason)` gave, or to null where it was left; rejects with what `fatal(error)`
 * says that the dialog cannot go on after.
 */
export function reasoned({ title, body = [], label = "Reason", least = 3, button, act, fatal = () => false }) {
  const input = make("textarea", { id: "reasoned-why", rows: 3, maxlength: 2000, minlength: least, required: least > 0, autofocus: true });
  const go = make("button", { class: "main" }, button);
  const refusal = make("p", { class: "away", role: "alert", hidden: true });
  const form = make("form", { method: "dialog" },
    make("h2", { id: "reasoned-title" }, title), ...body, refusal,
    make("label", { for: "reasoned-why" }, label), input,
    make("p", { class: "buttons" }, go, make("button", { type: "button", onclick: () => dialog.close() }, "Cancel")));
  const dialog = make("dialog", { class: "reasoned", "aria-labelledby": "reasoned-title" }, form);
  document.body.append(dialog);
  return new Promise((resolve, reject) => {
    let outcome = null;
    let failure = null;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const reason = input.value.trim();
      if (reason.length < least) {
        input.setCustomValidity(`At least ${least} characters, for those who read the history.`);
        input.reportValidity();
        return;
      }
      go.disabled = true;
      refusal.hidden = true;
      try {
        outcome = await act(reason);
        dialog.close();
      } catch (error) {
        if (fatal(error)) {
          failure = error;
          dialog.close();
        }
        refusal.textContent = sentence(error);
        refusal.hidden = false;
      }
      go.disabled = false;
    });
    input.addEventListener("input", () => input.setCustomValidity(""));
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (failure) reject(failure);
      else resolve(outcome);
    });
    dialog.showModal();
  });
}
