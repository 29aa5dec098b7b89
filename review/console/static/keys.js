// Keys of the moderator's page: one for each label, one for each action, space to reveal.

const LETTERS = "1234567890qwrtyuiopdfjklxv"; // those that are no action's
const ACTIONS = {
  Enter: "submit", n: "cannot_tell", s: "skip", e: "escalate", h: "hold", z: "undo", b: "blur", g: "grey", a: "at_once", c: "copy",
  "+": "zoom_in", "=": "zoom_in", "-": "zoom_out", "?": "help",
};

/** The key of a label by its place; undefined where there are more labels than keys. */
export const keyOf = (index) => LETTERS[index];

/** `labels`: of the task on the page; `choose`: one of them; `act`: by name; `reveal`: while space is held. */
export function listen({ labels, choose, act, reveal }) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches("input, textarea, select")) return;
    const onControl = event.target.matches('button:not(.label[aria-pressed="true"]), a, summary');
    if (onControl && (event.key === "Enter" || event.key === " ")) return; // it is pressed
    const index = LETTERS.indexOf(event.key);
    if (event.key === " ") reveal(true);
    else if (index >= 0 && index < labels().length) choose(labels()[index]);
    else if (Object.hasOwn(ACTIONS, event.key)) act(ACTIONS[event.key]);
    else return;
    event.preventDefault();
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === " ") reveal(false);
  });
}
