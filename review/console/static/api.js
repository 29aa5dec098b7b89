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

/** The server could not be asked: it may come back. */
export class Away extends Error {
  constructor(cause) {
    super("The server does not answer.");
    this.cause = cause;
  }
}

/** Ask for something; resolves to the JSON document, or null where there is none (204). */
export async function ask(method, path, body, { keepalive = false } = {}) {
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
  if (response.status === 204) return null;
  if (response.status === 401) {
    location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
    throw new Refused(401, { detail: "Your session has ended: log in again." });
  }
  if ([502, 503, 504].includes(response.status)) throw new Away(response.status);
  const document_ = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, document_);
  return document_;
}

export const get = (path) => ask("GET", path);
export const post = (path, body, options) => ask("POST", path, body, options);
export const put = (path, body) => ask("PUT", path, body);

/** The address of a task's image, as the server proxies it. */
export const imageOf = (eventId) => `/api/v1/image?${new URLSearchParams({ event_id: eventId })}`;
