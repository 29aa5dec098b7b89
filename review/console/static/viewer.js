// The image: blurred and grey until the moderator reveals it, zoomed by keys, wheel or pinch, moved by dragging.

import { Away, get } from "/static/api.js";

const LARGEST = 8;
const AGAIN_MS = 1_000;

export class Viewer {
  constructor(stage, image, note) {
    this.stage = stage;
    this.image = image;
    this.note = note;
    this.scale = 1;
    this.x = this.y = 0;
    image.addEventListener("error", () => this.missing(image.getAttribute("src")));
    image.addEventListener("load", () => (this.note.hidden = true));
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2);
    }, { passive: false });
    stage.addEventListener("pointerdown", (event) => {
      if (this.scale > 1) stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
      if (!stage.hasPointerCapture(event.pointerId)) return;
      this.x += event.movementX;
      this.y += event.movementY;
      this.place();
    });
  }

  show(source, { blur, grey }) {
    this.scale = 1;
    this.x = this.y = 0;
    this.place();
    this.veil({ blur, grey });
    this.image.hidden = !source;
    this.note.hidden = true;
    if (source) this.image.src = source;
    else this.image.removeAttribute("src");
  }

  /** Say why there is no image, in the server's own words; where it did not answer, try again. */
  async missing(source) {
    if (!source) return;
    this.image.hidden = true;
    let sentence = null;
    try {
      await get(source);
    } catch (error) {
      if (!(error instanceof Away)) sentence = `The image cannot be had: ${error.message}. Skip it, or say that you cannot tell.`;
    }
    if (this.image.getAttribute("src") !== source) return;
    this.note.hidden = false;
    this.note.textContent = sentence ?? "The image has not come: the server does not answer. It is asked again.";
    if (sentence === null) setTimeout(() => this.again(source), AGAIN_MS);
  }

  again(source) {
    if (this.image.getAttribute("src") !== source) return;
    this.image.src = source;
    this.image.hidden = false;
  }

  veil({ blur, grey }) {
    this.stage.classList.toggle("blurred", blur);
    this.stage.classList.toggle("grey", grey);
  }

  reveal(on) {
    this.stage.classList.toggle("revealed", on);
  }

  zoom(factor) {
    this.scale = Math.min(LARGEST, Math.max(1, this.scale * factor));
    if (this.scale === 1) this.x = this.y = 0;
    this.place();
  }

  place() {
    this.image.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.stage.classList.toggle("zoomed", this.scale > 1);
  }
}
