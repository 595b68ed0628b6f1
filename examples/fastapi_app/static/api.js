// Requests to the service and to the store, with their failures as one kind of error.

export class Problem extends Error {
  constructor(message, { status = 0, code = "", retry = false } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.retry = retry;
  }
}

const OFFLINE = "There is no connection. It goes on by itself when there is one again.";

// The JSON of one call to the service. Failures that may pass are marked `retry`.
export async function call(path, { body, method = body === undefined ? "GET" : "POST", signal } = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      signal,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(OFFLINE, { code: "offline", retry: true });
  }
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  let told = {};
  try {
    told = await answer.json();
  } catch {
    // A proxy's page says less than the status does.
  }
  const text = typeof told.detail === "string" ? told.detail : `The service answered ${answer.status}.`;
  throw new Problem(text, {
    status: answer.status,
    code: told.code ?? "",
    retry: answer.status >= 500 || answer.status === 429 || answer.status === 408,
  });
}

// One body to the store; `fetch` cannot tell how much of it is gone, so this is XMLHttpRequest.
export function send(method, url, body, { signal, onprogress }) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    signal.addEventListener("abort", abort, { once: true });
    const end = (action, value) => {
      signal.removeEventListener("abort", abort);
      action(value);
    };
    request.open(method, url);
    request.timeout = 10 * 60 * 1000;
    request.upload.onprogress = (event) => onprogress(event.loaded);
    request.onabort = () => end(reject, signal.reason ?? new DOMException("aborted", "AbortError"));
    request.onerror = () => end(reject, new Problem(OFFLINE, { code: "offline", retry: true }));
    request.ontimeout = () => end(reject, new Problem("The store did not answer in time.", { retry: true }));
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) end(resolve);
      else end(reject, refused(request));
    };
    request.send(body);
  });
}

// What the store said, in words; its XML has a code.
function refused(request) {
  const code = /<Code>([A-Za-z]+)<\/Code>/.exec(request.responseText)?.[1] ?? "";
  const details = { status: request.status, code, retry: request.status >= 500 || request.status === 429 };
  if (code === "EntityTooLarge") return new Problem("The file is larger than was announced.", details);
  if (code === "NoSuchUpload") return new Problem("This upload was ended. Start it again.", details);
  if (request.status === 403) return new Problem("The permission to send has expired.", { ...details, code: "expired" });
  return new Problem(`The store refused the file (${request.status} ${code}).`, details);
}

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15000;

// What `attempt` gives; tried again after failures that may pass, with growing, random pauses.
export async function retrying(attempt, { signal, tries = 6 }) {
  for (let count = 1; ; count += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (signal.aborted || !error.retry || count >= tries) throw error;
      const longest = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** count);
      await pause(longest / 2 + (Math.random() * longest) / 2, signal);
    }
  }
}

// Ends early when the connection comes back, and with the signal.
function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const end = (action, value) => {
      clearTimeout(timer);
      window.removeEventListener("online", online);
      signal.removeEventListener("abort", aborted);
      action(value);
    };
    const online = () => end(resolve);
    const aborted = () => end(reject, signal.reason);
    const timer = setTimeout(online, milliseconds);
    window.addEventListener("online", online);
    signal.addEventListener("abort", aborted);
  });
}
