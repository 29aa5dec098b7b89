// The moderator's page: one task at a time, the next ones claimed and loaded ahead, every action by key or button.

import { Away, get, imageOf, post, put } from "/static/api.js";
import { followQueue } from "/static/choices.js";
import { el, make, page, span } from "/static/dom.js";
import { keyOf, listen } from "/static/keys.js";
import { Outbox } from "/static/outbox.js";
import { Pace } from "/static/pace.js";
import { showEarlier, showHistory, showReading, showSaid } from "/static/task.js";
import { Viewer } from "/static/viewer.js";

const EMPTY_MS = 4_000;

const preferences = page.preferences;
const viewer = new Viewer(el("stage"), el("image"), el("image-note"));
const pace = new Pace(preferences.break_minutes);

const held = []; // claims, the shown one first
let chosen; // label, or null for "cannot tell"; undefined: nothing yet
let shownAt = 0;
let filling = false;
let last = null; // the last verdict given, to be taken back
let onBreak = false;

const outbox = new Outbox({
  settled(verdict, error, answer) {
    if (error) {
      warn(`${verdict.body.event_id}: ${error.message}. Your verdict was not recorded.`);
      pace.taken_back();
      showPace();
      return;
    }
    const left = Object.keys(answer.left).length;
    if (answer.copied_to.length || left)
      tell(`${answer.copied_to.length} near-duplicates have the same verdict${left ? `; ${left} are left for a look of their own` : ""}.`);
  },
  waiting(count, why = "The server does not answer.") {
    const away = count > 0;
    el("connection").textContent = away
      ? `${why} ${count} verdict${count > 1 ? "s wait" : " waits"} here until it is taken.`
      : "";
    el("connection").hidden = !away;
  },
});

function warn(sentence) {
  const item = document.createElement("li");
  item.textContent = sentence;
  const close = document.createElement("button");
  close.textContent = "Dismiss";
  close.addEventListener("click", () => item.remove());
  item.append(close);
  el("notices").append(item);
}

/** What is worth seeing, but asks for nothing. */
function tell(sentence) {
  el("told").textContent = sentence;
  el("told").hidden = false;
  clearTimeout(tell.ends);
  tell.ends = setTimeout(() => (el("told").hidden = true), 8_000);
}

function say(sentence) {
  el("status").textContent = sentence;
}

// ---- tasks: claimed ahead, shown one at a time

const filters = () => Object.fromEntries(new URLSearchParams(el("which").value));

async function fill() {
  if (filling || onBreak) return;
  filling = true;
  try {
    while (held.length < page.ahead) {
      const claim = await post("/api/v1/claims", filters());
      if (claim === null) break;
      if (!held.some(({ task }) => task.event_id === claim.task.event_id)) take(claim);
    }
    if (!held.length) {
      say("Nothing waits for review. This page looks again by itself.");
      setTimeout(fill, EMPTY_MS);
    }
  } catch (error) {
    if (!(error instanceof Away)) warn(error.message);
    else say("The server does not answer. This page tries again by itself.");
    setTimeout(fill, EMPTY_MS);
  } finally {
    filling = false;
    showPace();
  }
}

function take(claim, { first = false } = {}) {
  claim.picture = new Image();
  claim.picture.src = imageOf(claim.task.event_id);
  if (first) held.unshift(claim);
  else held.push(claim);
  if (held[0] === claim) show();
}

function show() {
  const claim = held[0];
  chosen = undefined;
  el("work").hidden = !claim;
  el("empty").hidden = Boolean(claim);
  if (!claim) {
    viewer.show(null, preferences);
    return;
  }
  shownAt = performance.now();
  viewer.show(claim.picture.src, preferences);
  const task = claim.task;
  say(`Task ${task.event_id}, ${task.labels.length} labels.`);
  el("event").textContent = task.event_id;
  el("taxonomy").textContent = task.taxonomy;
  el("waited").textContent = span((Date.now() - Date.parse(claim.entry.since)) / 1000);
  el("expiries").textContent = claim.entry.expiries ? `${claim.entry.expiries} leases ran out before` : "";
  el("flags").textContent = (task.image_flags || []).join(", ");
  el("note").value = "";
  showLabels(task.labels);
  showReading(task);
  showEarlier(claim.answers);
  showSaid(claim.entry);
  showAlike(claim);
  pace.active();
  showPace();
}

function showLabels(labels) {
  const buttons = labels.map((label, index) => {
    const key = keyOf(index) ?? null;
    return make("button",
      { type: "button", class: "label", "data-label": label, "aria-pressed": "false", "aria-keyshortcuts": key, onclick: () => choose(label) },
      key && make("kbd", { "aria-hidden": "true" }, key), label);
  });
  el("labels").replaceChildren(...buttons);
  mark();
}

function mark() {
  for (const button of document.querySelectorAll("[data-label]"))
    button.setAttribute("aria-pressed", String(chosen === button.dataset.label));
  el("cannot-tell").setAttribute("aria-pressed", String(chosen === null));
  el("submit").disabled = chosen === undefined;
}

/** Near-duplicates that wait, and what was said of the same image: looked up while the image is looked at. */
async function showAlike(claim) {
  claim.alike = [];
  el("copy").checked = false;
  el("alike").hidden = el("history").hidden = true;
  const about = new URLSearchParams({ event_id: claim.task.event_id });
  let alike, earlier;
  try {
    [alike, earlier] = await Promise.all([get(`/api/v1/similar?${about}`), get(`/api/v1/history?${about}`)]);
  } catch (error) {
    if (!(error instanceof Away)) say(error.message);
    return;
  }
  claim.alike = alike.map(({ event_id: eventId }) => eventId);
  if (held[0] !== claim) return;
  el("alike").hidden = !alike.length;
  el("alike-count").textContent = String(alike.length);
  showHistory(earlier);
}

// ---- actions

function choose(label) {
  if (!held.length) return;
  chosen = label;
  mark();
  if (preferences.submit_at_once) submit();
  else say(`${label ?? "Cannot tell"} chosen. Enter submits it.`);
}

function submit() {
  const claim = held[0];
  if (!claim || chosen === undefined) return;
  const seconds = (performance.now() - shownAt) / 1000;
  const body = {
    event_id: claim.task.event_id,
    token: claim.lease.token,
    label: chosen,
    note: el("note").value || null,
    shown_s: seconds,
    version: claim.entry.version,
    copy_to: el("copy").checked ? claim.alike : [],
  };
  last = body;
  held.shift();
  const copied = new Set(body.copy_to);
  held.splice(0, held.length, ...held.filter(({ task }) => !copied.has(task.event_id)));
  pace.decided(seconds);
  outbox.give({ body });
  show();
  rest();
  fill();
}

/** Do something with the shown task that takes it off the page, once the server has agreed. */
async function part(path, sentence, more = {}) {
  const claim = held[0];
  if (!claim) return;
  try {
    await post(path, { event_id: claim.task.event_id, token: claim.lease.token, ...more });
    tell(sentence);
  } catch (error) {
    warn(`${claim.task.event_id}: ${error.message}`);
    if (error instanceof Away) return; // it stays on the page
  }
  if (held[0] === claim) held.shift();
  show();
  fill();
}

const actions = {
  submit,
  cannot_tell: () => choose(null),
  skip: () => part("/api/v1/skips", "Skipped: you will not be shown it again."),
  release: () => part("/api/v1/releases", "Given back."),
  escalate: () => withNote("Escalate: what should the lead know?", (note) =>
    part("/api/v1/escalations", "Escalated to a lead.", { note })),
  hold: () => withNote("Hold for an hour: why?", (note) =>
    part("/api/v1/holds", "On hold for an hour; it comes back to you.", { note, for_s: 3600 })),
  transfer: () => withNote("Transfer: to which reviewer?", (to) =>
    part("/api/v1/transfers", `Handed to ${to}.`, { to })),
  undo: async () => {
    if (!last) return tell("There is nothing to take back.");
    await outbox.send();
    try {
      const claim = await post("/api/v1/undos", { event_id: last.event_id });
      last = null;
      pace.taken_back();
      take(claim, { first: true });
      tell("Your last verdict is taken back: decide again.");
    } catch (error) {
      warn(error.message);
    }
  },
  blur: () => prefer({ blur: !preferences.blur }),
  grey: () => prefer({ grey: !preferences.grey }),
  copy: () => {
    if (!el("alike").hidden) el("copy").checked = !el("copy").checked;
  },
  at_once: () => prefer({ submit_at_once: !preferences.submit_at_once }),
  zoom_in: () => viewer.zoom(1.25),
  zoom_out: () => viewer.zoom(1 / 1.25),
  help: () => el("help").showModal(),
};

function withNote(question, act) {
  if (!held.length) return;
  const dialog = el("ask");
  el("ask-question").textContent = question;
  el("ask-answer").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  dialog.addEventListener("close", () => {
    const answer = el("ask-answer").value.trim();
    if (dialog.returnValue === "yes" && answer) act(answer);
  }, { once: true });
}

async function prefer(change) {
  Object.assign(preferences, change);
  showPreferences();
  try {
    await put("/api/v1/me/preferences", preferences);
  } catch (error) {
    warn(`Your settings hold on this page only: ${error.message}`);
  }
}

function showPreferences() {
  viewer.veil(preferences);
  el("at-once").setAttribute("aria-pressed", String(preferences.submit_at_once));
  document.querySelector('[data-action="blur"]').setAttribute("aria-pressed", String(preferences.blur));
  document.querySelector('[data-action="grey"]').setAttribute("aria-pressed", String(preferences.grey));
}

// ---- keys and buttons

listen({
  labels: () => held[0]?.task.labels || [],
  choose,
  act: (name) => actions[name](),
  reveal: (on) => viewer.reveal(on),
});
for (const button of document.querySelectorAll("[data-action]"))
  button.addEventListener("click", () => actions[button.dataset.action]());
const reveal = el("reveal");
reveal.addEventListener("pointerdown", () => viewer.reveal(true));
for (const end of ["pointerup", "pointerleave", "blur"]) reveal.addEventListener(end, () => viewer.reveal(false));
reveal.addEventListener("keydown", (event) => event.key === " " && viewer.reveal(true));

// ---- leases, pace, breaks

async function beat() {
  if (!held.length) return fill();
  const claims = held.map(({ task, lease }) => ({ event_id: task.event_id, token: lease.token }));
  let answers;
  try {
    ({ claims: answers } = await post("/api/v1/heartbeats", { claims }));
  } catch (error) {
    if (!(error instanceof Away)) warn(error.message);
    return;
  }
  for (const { event_id: eventId, lost, version } of answers) {
    const at = held.findIndex(({ task }) => task.event_id === eventId);
    if (at < 0) continue;
    if (!lost) {
      if (version === held[at].entry.version) continue;
      held[at].entry.version = version; // a colleague asked for this very review meanwhile
      continue;
    }
    held.splice(at, 1);
    if (at === 0) {
      warn(`${lost}. Nothing was recorded of it.`);
      show();
    }
  }
  fill();
}

function showPace() {
  el("count").textContent = String(pace.count);
  el("median").textContent = pace.median === null ? "–" : `${pace.median.toFixed(1)} s`;
  el("ahead").textContent = String(Math.max(0, held.length - 1));
  el("worked").textContent = `${pace.minutes} min`;
}

function rest() {
  showPace();
  if (!pace.due || onBreak) return;
  onBreak = true;
  el("break-text").textContent =
    `You have decided ${pace.count} and looked at images for ${pace.minutes} minutes. Look at something else for a while.`;
  giveBack();
  el("break").showModal();
}

el("break").addEventListener("close", () => {
  onBreak = false;
  pace.rested();
  fill();
});

function giveBack() {
  const claims = held.splice(0).map(({ task, lease }) => ({ event_id: task.event_id, token: lease.token }));
  for (const claim of claims) post("/api/v1/releases", claim, { keepalive: true }).catch(() => null); // else its lease ends
  show();
}

el("which").addEventListener("change", () => {
  giveBack();
  fill();
});
// Who leaves the page finds their tasks again for as long as the leases hold; who signs out gives them back.
document.querySelector("form.who").addEventListener("submit", giveBack);
setInterval(beat, page.heartbeat_s * 1000);
addEventListener("online", beat);
document.addEventListener("visibilitychange", () => document.hidden || beat()); // a page that slept asks at once

followQueue((error) => warn(error.message));

/** Begin with what this reviewer holds already: the page was reloaded, or the server started anew. */
async function begin() {
  outbox.send();
  try {
    for (const claim of await get("/api/v1/claims")) take(claim);
  } catch (error) {
    if (!(error instanceof Away)) warn(error.message);
  }
  fill();
}

showPreferences();
show();
begin();
