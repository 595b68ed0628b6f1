// The page: what is dropped, how far it is, what is stored.

import { call } from "./api.js";
import { Transfer, discard, records, typeOf } from "./transfer.js";

const FILES_AT_ONCE = 3;
const SHOWN = 1000;
const element = (id) => document.getElementById(id);
const transfers = element("transfers");
const waiting = [];
let running = 0;
let limits = null;

const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
function size(bytes) {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toLocaleString("en", { maximumFractionDigits: unit && value < 100 ? 1 : 0 })} ${units[unit]}`;
}

function announce(text) {
  element("announce").textContent = text;
}

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// One row: name, state, progress, and what can be done about it.
class Row {
  constructor(name) {
    this.name = name;
    this.state = make("span", { className: "state" });
    this.progress = make("progress", { max: 1, value: 0 });
    this.progress.setAttribute("aria-label", `Progress of ${name}`);
    this.actions = make("span", { className: "actions" });
    const title = make("span", { className: "name", textContent: name, title: name });
    this.item = make("li", { className: "row" }, title, this.state, this.actions, this.progress);
  }

  show(state, text) {
    this.item.dataset.state = state;
    this.state.textContent = text;
  }

  offer(...actions) {
    const wanted = actions.map(([label]) => label).join();
    if (this.offered === wanted) return; // a button that is replaced loses the focus
    this.offered = wanted;
    this.actions.replaceChildren(
      ...actions.map(([label, act]) => {
        const button = make("button", { type: "button", textContent: label, onclick: act });
        button.setAttribute("aria-label", `${label} ${this.name}`);
        return button;
      }),
    );
  }
}

function refusal(file) {
  if (!limits) return null;
  if (file.size > limits.max_size) {
    const exact = size(file.size) === size(limits.max_size);
    const has = exact ? `${file.size.toLocaleString("en")} bytes` : size(file.size);
    const most = exact ? `${limits.max_size.toLocaleString("en")} bytes` : size(limits.max_size);
    return `Too big: it has ${has}, at most ${most} are taken.`;
  }
  const type = typeOf(file);
  const family = `${type.split("/")[0]}/*`;
  if (!limits.content_types.some((allowed) => [type, family, "*/*"].includes(allowed))) {
    return `Wrong type: files of the type ${type} are not taken.`;
  }
  return null;
}

function add(file) {
  const row = new Row(file.name);
  transfers.prepend(row.item);
  const remove = ["Dismiss", () => row.item.remove()];
  const refused = refusal(file);
  if (refused) {
    row.show("failed", refused);
    row.offer(remove);
    announce(`${file.name}: ${refused}`);
    return;
  }
  const transfer = new Transfer(file);
  const retry = ["Try again", () => queue(transfer)];
  const cancel = ["Cancel", () => transfer.cancel()];
  const texts = {
    waiting: () => "Waiting",
    sending: () =>
      `${transfer.resumed ? "Going on: " : ""}${size(transfer.sent)} of ${size(transfer.size)} · ` +
      `${Math.floor((transfer.sent / transfer.size) * 100)} %`,
    checking: () => "Sent. Being checked…",
    done: () => `Stored · ${size(transfer.size)}`,
    failed: () => transfer.message,
    cancelled: () => "Cancelled",
  };
  const actions = { done: [remove], failed: [retry, remove], cancelled: [remove] };
  let shown = "";
  const show = () => {
    row.show(transfer.state, texts[transfer.state]());
    row.progress.value = transfer.size ? transfer.sent / transfer.size : 0;
    row.offer(...(actions[transfer.state] ?? [cancel]));
    if (shown !== transfer.state && ["done", "failed", "cancelled"].includes(transfer.state)) {
      announce(`${file.name}: ${row.state.textContent}`);
    }
    shown = transfer.state;
  };
  transfer.addEventListener("change", show);
  show();
  queue(transfer);
}

function queue(transfer) {
  waiting.push(transfer);
  next();
}

async function next() {
  if (running >= FILES_AT_ONCE || !waiting.length) return;
  const transfer = waiting.shift();
  if (transfer.state === "cancelled") {
    next();
    return;
  }
  running += 1;
  await transfer.run();
  running -= 1;
  next();
  showUnfinished();
  if (transfer.state === "done") showStored();
}

// Uploads a reload or a crash interrupted; those of this page are on their way.
const atLoad = new Set(records.all().map((record) => record.key));

function showUnfinished() {
  const rows = [];
  for (const record of records.all().filter((found) => atLoad.has(found.key))) {
    const row = new Row(record.name);
    if (new Date(record.expires_at) < new Date()) {
      records.remove(record.key);
      continue;
    }
    row.show("unfinished", `${size(record.size)} · can be resumed until ${moment(record.expires_at)}`);
    row.progress.remove();
    row.offer([
      "Discard",
      async () => {
        records.remove(record.key);
        row.item.remove();
        showUnfinished();
        await discard(record.upload);
      },
    ]);
    rows.push(row.item);
  }
  element("unfinished-rows").replaceChildren(...rows);
  element("unfinished").hidden = !rows.length;
}

function moment(text) {
  return new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

async function showStored() {
  let files;
  try {
    ({ files } = await call(`api/files?limit=${SHOWN}`));
  } catch (error) {
    element("empty").textContent = `The list cannot be shown: ${error.message}`;
    element("empty").hidden = false;
    return;
  }
  files.sort((one, other) => other.modified.localeCompare(one.modified));
  const rows = files.map((file) => {
    const path = file.key.split("/").map(encodeURIComponent).join("/");
    const link = make("a", { href: `api/files/${path}`, textContent: file.name, download: file.name });
    return make(
      "tr",
      {},
      make("td", {}, link),
      make("td", { className: "number", textContent: size(file.size) }),
      make("td", { textContent: moment(file.modified) }),
    );
  });
  element("stored-rows").replaceChildren(...rows);
  element("stored").hidden = !rows.length;
  element("empty").textContent = "Nothing is stored yet.";
  element("empty").hidden = rows.length > 0;
}

function take(files) {
  for (const file of files) {
    atLoad.delete(records.key(file));
    add(file);
  }
  showUnfinished();
}

const drop = element("drop");
const chooser = element("chooser");
chooser.addEventListener("change", () => {
  take([...chooser.files]);
  chooser.value = ""; // the same file again is a change, too
});
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => drop.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  take([...event.dataTransfer.files]);
});

window.addEventListener("beforeunload", (event) => {
  if (running) event.preventDefault();
});

showUnfinished();
showStored();
try {
  limits = await call("api/limits");
  element("limits").textContent += ` At most ${size(limits.max_size)} each.`;
} catch {
  // The service checks them too.
}
