// Images that would change their route: small, veiled as their viewer likes, loaded once the answer stays for a moment.

import { events } from "/static/analysis.js";
import { imageOf } from "/static/api.js";
import { count, make, page, percent } from "/static/dom.js";

const STAYS_MS = 400;
const { blur, grey } = page.preferences;
const mayLook = page.permissions.includes("see_task");

export class Examples {
  constructor(lists) {
    this.lists = lists;
    this.known = new Map(); // event id to its tile: an image that stays is not loaded anew
    this.revealed = false;
  }

  /** The changes of an answer, {to_pass, to_review}. */
  show(answer) {
    const shown = new Map();
    for (const [name, { list, heading, caption }] of Object.entries(this.lists)) {
      const change = answer[name];
      heading.textContent = `${caption}: ${count(change.count)} of the survey, ${count(change.per_day.value)} a day`;
      for (const example of change.examples) shown.set(`${name} ${example.event_id}`, this.known.get(`${name} ${example.event_id}`) ?? tile(example));
      const tiles = change.examples.map(({ event_id: id }) => shown.get(`${name} ${id}`));
      if (tiles.length !== list.children.length || tiles.some((each, index) => each !== list.children[index])) list.replaceChildren(...tiles);
      list.hidden = !tiles.length;
    }
    this.known = shown;
    clearTimeout(this.loading);
    if (mayLook) this.loading = setTimeout(() => this.load(), STAYS_MS);
  }

  load() {
    for (const image of document.querySelectorAll(".example img[data-of]")) {
      image.src = imageOf(image.dataset.of);
      image.removeAttribute("data-of");
    }
  }

  /** Lift all veils, or let them down. */
  reveal(button) {
    this.revealed = !this.revealed;
    button.setAttribute("aria-pressed", String(this.revealed));
    for (const each of document.querySelectorAll(".example button")) lift(each, this.revealed);
  }
}

const lift = (button, on) => button.setAttribute("aria-pressed", String(on));

function tile({ event_id: id, label, score }) {
  const image = mayLook && make("img", { alt: "", "data-of": id, loading: "lazy", width: 132, height: 96 });
  const frame = mayLook
    ? make("button", {
      type: "button", "aria-pressed": "false", "aria-label": `Reveal the image of ${id}`, class: `${blur ? "blurred" : ""} ${grey ? "grey" : ""}`,
      onclick: (event) => lift(event.currentTarget, event.currentTarget.getAttribute("aria-pressed") !== "true"),
    }, image)
    : null;
  if (image) image.addEventListener("error", () => image.replaceWith(make("span", { class: "gone" }, "no image")));
  return make("li", { class: "example" }, frame,
    make("a", { href: events({ event_id: id }) }, label), make("small", {}, score === null ? "no score" : percent(score)));
}
