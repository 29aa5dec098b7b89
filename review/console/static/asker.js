// The newest question, and only that: one is on its way at most, and what a newer one has overtaken is dropped.

import { Away, post } from "/static/api.js";

const AGAIN_MS = 1_500;

export class Asker {
  /** `answered(answer, ms, question)`, `refused(error)`; `away(error)`: it is asked again by itself. */
  constructor(path, { answered, refused, away }) {
    Object.assign(this, { path, answered, refused, away });
    this.next = null;
    this.busy = false;
  }

  /** Ask; returns at once. */
  ask(question) {
    this.next = question;
    clearTimeout(this.timer);
    if (!this.busy) this.run();
  }

  /** Ask the same again in a while, unless something else is asked before. */
  later(question) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(question), AGAIN_MS);
  }

  async run() {
    this.busy = true;
    while (this.next !== null) {
      const question = this.next;
      this.next = null;
      const started = performance.now();
      try {
        const answer = await post(this.path, question);
        if (this.next === null) this.answered(answer, performance.now() - started, question);
      } catch (error) {
        if (this.next !== null) continue;
        if (error instanceof Away) {
          this.away(error);
          this.later(question);
        } else this.refused(error);
      }
    }
    this.busy = false;
  }
}
