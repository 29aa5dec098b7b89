// The one way from a page to the server: JSON both ways, the session's CSRF token, and errors as sentences.

const csrf = () => document.querySelector('meta[name="csrf-token"]').content;

/** What the server refused, with its own sentence. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || `the server answered ${status}`);
    this.status = status;
    this.code = problem.code || "";
  }
}

/** The server could not be asked, or cannot answer now: it may come back. */
export class Away extends Error {
  constructor(cause, sentence = "") {
    super("The server does not answer.");
    this.cause = cause;
    this.sentence = sentence; // the server's own on why, where it said one
  }
}

/** Ask for something; resolves to the JSON document, or null where there is none (204). */
export async function ask(method, path, body, options) {
  const response = await answered(method, path, body, options);
  return response.status === 204 ? null : response.json().catch(() => ({}));
}

/** Ask for a drawing; resolves to its element, ready to be put on the page. */
export async function drawing(path) {
  const response = await answered("GET", path);
  const drawn = new DOMParser().parseFromString(await response.text(), "image/svg+xml");
  return document.importNode(drawn.documentElement, true);
}

async function answered(method, path, body, { keepalive = false } = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      keepalive,
      headers: { "content-type": "application/json", "x-csrf-token": csrf() },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    throw new Away(error);
  }
  if (response.ok) return response;
  if (response.status === 401) {
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
    throw new Refused(401, { detail: "Your session has ended: log in again." });
  }
  const problem = await response.json().catch(() => ({}));
  if ([502, 503, 504].includes(response.status)) throw new Away(response.status, problem.detail);
  throw new Refused(response.status, problem);
}

export const get = (path) => ask("GET", path);
export const post = (path, body, options) => ask("POST", path, body, options);
export const put = (path, body) => ask("PUT", path, body);

/** The address of a task's image, as the server proxies it. */
export const imageOf = (eventId) => `/api/v1/image?${new URLSearchParams({ event_id: eventId })}`;
