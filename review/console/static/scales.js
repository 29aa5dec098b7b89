// How far along a slider a value is: steps of equal ratio where ratios matter, of equal size where differences do.

const exactly = (value) => Number(value.toPrecision(3));
const between = (low, high, value) => Math.min(high, Math.max(low, value));

/** From low to high in steps of one ratio; `zero`: the first step is 0. */
export function byRatio(low, high, { steps = 120, zero = false } = {}) {
  const first = zero ? 1 : 0;
  return {
    steps: steps + first,
    at: (step) => (step < first ? 0 : exactly(low * (high / low) ** ((step - first) / steps))),
    step: (value) => (value < low && zero ? 0 : first + Math.round(between(0, steps, (steps * Math.log(value / low)) / Math.log(high / low)))),
  };
}

/** From low to high in steps of one size. */
export function bySize(low, high, size) {
  const steps = Math.round((high - low) / size);
  return {
    steps,
    at: (step) => Number((low + step * size).toFixed(6)),
    step: (value) => Math.round(between(0, steps, (value - low) / size)),
  };
}
