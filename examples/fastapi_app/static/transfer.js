// One file on its way to the store: begun, sent, completed and confirmed; resumable when it goes in parts.

import { Problem, call, retrying, send } from "./api.js";

const WIDTH = 4; // parts at a time
const SIGNED_AT_ONCE = 8;
const HASHED_UP_TO = 1024 ** 3; // bytes the service compares
const UPLOADS = "api/uploads";
const RECORD = "upload:";

const TYPES = { csv: "text/csv", parquet: "application/vnd.apache.parquet", txt: "text/plain", json: "application/json" };

// The type the file goes by: the browser's, else by its extension.
export function typeOf(file) {
  const extension = file.name.split(".").pop().toLowerCase();
  return TYPES[extension] ?? (file.type.split(";")[0] || "application/octet-stream");
}

// What a reload needs to go on: kept for files that go in parts, until they are stored.
export const records = {
  key: (file) => `${RECORD}${file.name}:${file.size}:${file.lastModified}`,
  find(file) {
    const found = read(this.key(file));
    return found && new Date(found.expires_at) > new Date() ? found : null;
  },
  keep(file, begun) {
    const record = { ...begun, name: file.name, size: file.size };
    try {
      localStorage.setItem(this.key(file), JSON.stringify(record));
    } catch {
      // Without storage a reload starts again; the upload itself works.
    }
  },
  drop(file) {
    this.remove(this.key(file));
  },
  remove(key) {
    try {
      localStorage.removeItem(key);
    } catch {
      // As above.
    }
  },
  all() {
    try {
      return Object.keys(localStorage)
        .filter((key) => key.startsWith(RECORD))
        .map((key) => ({ key, ...read(key) }))
        .filter((found) => found.upload);
    } catch {
      return [];
    }
  },
};

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

export class Transfer extends EventTarget {
  #file;
  #abort = new AbortController();
  #begun = null;
  #sent = new Map();
  #urls = new Map();
  #signing = null;
  #digests = new Map();

  constructor(file) {
    super();
    this.#file = file;
    this.state = "waiting"; // waiting, sending, checking, done, failed, cancelled
    this.message = "";
    this.resumed = false;
  }

  get name() {
    return this.#file.name;
  }

  get size() {
    return this.#file.size;
  }

  get sent() {
    let total = 0;
    for (const bytes of this.#sent.values()) total += bytes;
    return Math.min(total, this.size);
  }

  // Runs to its end; failures become the state.
  async run() {
    this.#abort = new AbortController();
    try {
      await this.#readable();
      this.#set("sending", "");
      await this.#begin();
      if (this.#begun.method === "post") await this.#sendForm();
      else await this.#sendParts();
      this.#set("checking", "");
      await this.#confirm();
      records.drop(this.#file);
      this.#set("done", "");
    } catch (error) {
      if (this.state === "cancelled") return;
      if ([409, 410, 422].includes(error.status) || error.code === "unknown-upload") {
        records.drop(this.#file);
        this.#begun = null;
        this.#sent.clear();
      }
      this.#set("failed", error instanceof Problem ? error.message : `The page failed: ${error.message}`);
    }
  }

  // Ends it for good: what was sent is removed from the store.
  async cancel() {
    this.#abort.abort(new DOMException("cancelled", "AbortError"));
    records.drop(this.#file);
    const begun = this.#begun;
    this.#begun = null;
    this.#sent.clear();
    this.#set("cancelled", "");
    if (begun) await discard(begun.upload);
  }

  #set(state, message) {
    this.state = state;
    this.message = message;
    this.dispatchEvent(new Event("change"));
  }

  #moved(number, bytes) {
    this.#sent.set(number, bytes);
    this.dispatchEvent(new Event("change"));
  }

  #call(path, body) {
    const { signal } = this.#abort;
    return retrying(() => call(path, { body, signal }), { signal });
  }

  // A folder, or a file that was removed, is told before anything is begun.
  async #readable() {
    if (this.size === 0) throw new Problem("The file is empty.");
    try {
      await this.#file.slice(0, 1).arrayBuffer();
    } catch {
      throw new Problem("The file cannot be read. Was it moved, or is it a folder?");
    }
  }

  async #begin() {
    const file = this.#file;
    const known = this.#begun ?? records.find(file);
    if (known?.method === "multipart" && (await this.#resume(known))) return;
    this.#sent.clear();
    this.#begun = await this.#call(UPLOADS, { filename: file.name, size: file.size, content_type: typeOf(file) });
    if (this.#begun.method === "multipart") records.keep(file, this.#begun);
  }

  // Whether the store still has what was sent of it.
  async #resume(known) {
    try {
      const { parts } = await this.#call(`${UPLOADS}/held`, { upload: known.upload });
      this.#begun = known;
      this.#sent.clear();
      for (const part of parts) this.#sent.set(part.number, this.#part(part.number).size);
      this.resumed = parts.length > 0;
      return true;
    } catch (error) {
      if (![403, 410].includes(error.status)) throw error;
      records.drop(this.#file);
      return false;
    }
  }

  #part(number) {
    const size = this.#begun.part_size;
    return this.#file.slice((number - 1) * size, Math.min(number * size, this.size));
  }

  async #sendForm() {
    const { signal } = this.#abort;
    this.#digests.set(1, await digest(this.#file));
    for (let renewed = false; ; renewed = true) {
      const form = new FormData();
      for (const [name, value] of Object.entries(this.#begun.fields)) form.append(name, value);
      form.append("file", this.#file);
      try {
        await retrying(
          () => send("POST", this.#begun.url, form, { signal, onprogress: (bytes) => this.#moved(1, Math.min(bytes, this.size)) }),
          { signal },
        );
        this.#moved(1, this.size);
        return;
      } catch (error) {
        if (error.code !== "expired" || renewed) throw error;
        this.#begun = null;
        await this.#begin(); // a form that waited too long: one more, with a new permission
      }
    }
  }

  async #sendParts() {
    const missing = [];
    for (let number = 1; number <= this.#begun.parts; number += 1) {
      if (this.#sent.get(number) !== this.#part(number).size) missing.push(number);
    }
    // The first part that fails ends the others; a cancel ends them all.
    const group = new AbortController();
    const signal = AbortSignal.any([group.signal, this.#abort.signal]);
    const work = async () => {
      while (missing.length && !signal.aborted) await this.#sendPart(missing.shift(), missing, signal);
    };
    const workers = Array.from({ length: WIDTH }, work);
    try {
      await Promise.all(workers);
    } catch (error) {
      group.abort(error);
      await Promise.allSettled(workers);
      throw error;
    }
    this.#abort.signal.throwIfAborted();
    await this.#call(`${UPLOADS}/complete`, { upload: this.#begun.upload });
  }

  async #sendPart(number, waiting, signal) {
    const part = this.#part(number);
    if (this.size <= HASHED_UP_TO) this.#digests.set(number, await digest(part));
    for (let renewed = false; ; renewed = true) {
      const url = await this.#url(number, waiting);
      try {
        await retrying(() => send("PUT", url, part, { signal, onprogress: (bytes) => this.#moved(number, bytes) }), { signal });
        this.#moved(number, part.size);
        return;
      } catch (error) {
        this.#moved(number, 0);
        if (error.code !== "expired" || renewed) throw error;
        this.#urls.delete(number);
      }
    }
  }

  // The signed address of a part; the next ones are signed with it, one request at a time.
  async #url(number, waiting) {
    while (!this.#urls.has(number)) {
      this.#signing ??= this.#sign([number, ...waiting.slice(0, SIGNED_AT_ONCE - 1)]).finally(() => {
        this.#signing = null;
      });
      await this.#signing;
    }
    const { url, until } = this.#urls.get(number);
    if (until > Date.now()) return url;
    this.#urls.delete(number);
    return this.#url(number, waiting);
  }

  async #sign(numbers) {
    const { urls, expires_at } = await this.#call(`${UPLOADS}/parts`, { upload: this.#begun.upload, numbers });
    // Clocks differ: an address is given up early rather than late, but never at once.
    const until = Math.max(new Date(expires_at).getTime() - 30_000, Date.now() + 5_000);
    for (const [number, url] of Object.entries(urls)) this.#urls.set(Number(number), { url, until });
  }

  async #confirm() {
    await this.#call(`${UPLOADS}/confirm`, { upload: this.#begun.upload, ...(await this.#checksum()) });
  }

  // SHA-256 of the form, or of every part: those sent before a reload are read for it again.
  async #checksum() {
    if (!crypto.subtle || this.size > HASHED_UP_TO) return {};
    if (this.#begun.method === "post") return { sha256: this.#digests.get(1) };
    const all = [];
    for (let number = 1; number <= this.#begun.parts; number += 1) {
      all.push(this.#digests.get(number) ?? (await digest(this.#part(number))));
    }
    return { part_sha256: all };
  }
}

// Removes an upload that will not go on; the store's own clean-up finds what this misses.
export async function discard(upload) {
  try {
    await call(`${UPLOADS}/abort`, { body: { upload } });
  } catch {
    // Nothing the user could do about it.
  }
}

// Hex, or undefined where the page has no hashing (it was not loaded from a secure origin).
async function digest(blob) {
  if (!crypto.subtle) return undefined;
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
