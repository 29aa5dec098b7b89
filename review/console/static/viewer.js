// The image: blurred and grey until the moderator reveals it, zoomed by keys, wheel or pinch, moved by dragging.

const LARGEST = 8;

export class Viewer {
  constructor(stage, image, note) {
    this.stage = stage;
    this.image = image;
    this.note = note;
    this.scale = 1;
    this.x = this.y = 0;
    image.addEventListener("error", () => this.missing());
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

  missing() {
    if (!this.image.getAttribute("src")) return;
    this.image.hidden = true;
    this.note.hidden = false;
    this.note.textContent =
      "The image cannot be had: it may be gone, or too old to be kept. Skip it, or say that you cannot tell.";
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
