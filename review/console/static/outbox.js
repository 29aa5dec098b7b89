// Verdicts on their way. Each is kept until the server has answered it, across reloads, so that none is lost while the
// server is away; giving one twice under the same claim is harmless.

import { Away, post } from "/static/api.js";

const STORE = "tidegate-verdicts";
const LONGEST_PAUSE_MS = 15_000;
const KEEP = [401, 403, 429];

export class Outbox {
  /** `settled(verdict, error, answer)`: called once for each; error is null where it was recorded. `waiting(count, why)`: they are kept here. */
  constructor({ settled, waiting }) {
    this.settled = settled;
    this.waiting = waiting;
    this.verdicts = JSON.parse(sessionStorage.getItem(STORE) || "[]");
    this.sending = false;
  }

  give(verdict) {
    this.verdicts.push(verdict);
    this.keep();
    return this.send();
  }

  keep() {
    sessionStorage.setItem(STORE, JSON.stringify(this.verdicts));
  }

  async send() {
    if (this.sending) return;
    this.sending = true;
    let pause = 500;
    while (this.verdicts.length) {
      const [verdict] = this.verdicts;
      let error = null;
      let answer = null;
      try {
        answer = await post("/api/v1/verdicts", verdict.body);
      } catch (problem) {
        if (problem instanceof Away) {
          this.waiting(this.verdicts.length);
          await new Promise((done) => setTimeout(done, pause));
          pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
          continue;
        }
        if (KEEP.includes(problem.status)) {
          // Not this verdict's fault: the session has ended, or too much was asked. It is sent after the next sign-in.
          this.sending = false;
          this.waiting(this.verdicts.length, problem.message);
          return;
        }
        error = problem;
      }
      pause = 500;
      this.verdicts.shift();
      this.keep();
      this.settled(verdict, error, answer);
    }
    this.sending = false;
    this.waiting(0);
  }
}
