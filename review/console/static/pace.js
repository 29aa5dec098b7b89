// Pace and breaks: how many, how fast, and when it is time to look at something else.

const IDLE_MS = 120_000; // a pause this long is not work

export class Pace {
  constructor(breakMinutes, now = () => Date.now()) {
    this.breakMs = breakMinutes * 60_000;
    this.now = now;
    this.count = 0;
    this.times = [];
    this.rested();
    this.last = now();
  }

  /** Something was done: time since the last thing counts as work unless it was a pause. */
  active() {
    const gap = this.now() - this.last;
    if (gap < IDLE_MS) this.worked += gap;
    else this.worked = Math.max(0, this.worked - gap);
    this.last = this.now();
  }

  decided(seconds) {
    this.count += 1;
    this.times = [...this.times.slice(-19), seconds];
    this.active();
  }

  taken_back() {
    this.count = Math.max(0, this.count - 1);
  }

  rested() {
    this.worked = 0;
  }

  get due() {
    return this.breakMs > 0 && this.worked >= this.breakMs;
  }

  get minutes() {
    return Math.round(this.worked / 60_000);
  }

  /** Median seconds of the last twenty, or null. */
  get median() {
    if (!this.times.length) return null;
    const sorted = [...this.times].sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)];
  }
}
