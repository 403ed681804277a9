// The first screen: what is indexed, what could be asked, and a place for the visitor's own files.

import * as server from "./server.js";
import { count, folder, make, title } from "./parts.js";
import { address, without } from "./state.js";

const LISTED = 200; // documents that are shown at a time; the filter finds the others
const POLL = 1000; // milliseconds between looks at files that are being read

const $ = (id) => document.getElementById(id);

export class Start {
  // app: facts (of the server), documents ({index, mine}), state, go(state), trouble(error).
  constructor(app) {
    this.app = app;
    this.refused = [];
    $("filter").addEventListener("input", () => this.list());
    $("files").addEventListener("change", () => this.bring([...$("files").files]));
    $("forget").addEventListener("click", () => this.forget());
    $("lacking").addEventListener("toggle", () => this.lack());
    const drop = $("drop");
    for (const event of ["dragover", "drop"]) {
      document.addEventListener(event, (one) => one.dataTransfer?.types.includes("Files") && one.preventDefault());
    }
    const over = (is) => {
      drop.classList.toggle("over", is);
      $("onto").hidden = !is || $("found").hidden || !this.app.facts.uploads;
    };
    document.addEventListener("dragover", (event) => over(Boolean(event.dataTransfer?.types.includes("Files"))));
    document.addEventListener("dragleave", () => over(false));
    document.addEventListener("drop", (event) => {
      over(false);
      this.bring([...(event.dataTransfer?.files ?? [])]);
    });
  }

  // Shows the facts of the server as soon as they are known.
  show() {
    const { index, uploads } = this.app.facts;
    $("collection").hidden = !index;
    $("own").hidden = !uploads; // the key of this visitor may only read
    if (uploads) {
      $("own-note").textContent =
        `Only you can search them${index ? ", beside the index" : ""}. They are deleted ${uploads.hours} hours after their last use. ` +
        `At most ${Math.floor(uploads.bytes / 2 ** 20)} MB at a time, and ${uploads.pages} pages a file.`;
      $("files").accept = uploads.endings.join(",");
    }
    const { llm } = this.app.facts;
    $("llm-note").textContent = llm ? `${llm} writes answers from the pages that are found, if you ask it to.` : "";
    this.stand();
    this.list();
  }

  stand() {
    const { index } = this.app.facts, mine = this.app.mine;
    const parts = [];
    if (index) parts.push(`${count(index.pages, "page")} of ${count(index.documents, "document")}`);
    if (mine.pages) parts.push(`${count(mine.pages, "page")} of your own`);
    const said = parts.length ? `Search ${parts.join(" and ")}.` : "Drop files below, and ask what they say.";
    const unread = index ? index.unread.failed + index.unread.empty : 0;
    $("lacking").hidden = !unread;
    $("lacking").firstChild.textContent = `${count(unread, "page")} or files that no question finds`;
    const { doc } = this.app.state;
    $("standing").replaceChildren(...(doc.length ? [`Search only in ${doc.map(title).join(", ")}. `,
      make("a", { href: address({ ...without(this.app.state), q: "", doc: [] }) }, "Search in all")] : [said]));
  }

  async lack() {
    const list = $("lacking").querySelector("ul");
    if (!$("lacking").open || list.childElementCount) return;
    const found = await server.unread().catch((error) => this.app.trouble(error));
    list.replaceChildren(...(found ?? []).map((one) => make("li", {},
      `${one.doc}${one.page ? `, page ${one.page}` : ""}: ${one.reason ?? "holds nothing that the model reads"}`)));
  }

  list() {
    fill($("documents"), this.app.documents.index, $("filter").value, (one) =>
      make("li", { class: this.app.state.doc.includes(one.doc) ? "chosen" : "" },
        make("a", { href: address({ ...without(this.app.state), q: "", show: one.doc, page: String(one.first ?? 1) }), title: one.doc },
          make("span", { class: "name" }, title(one.doc)), make("span", { class: "folder" }, folder(one.doc))),
        make("span", { class: "count" }, count(one.pages, "page")),
        make("a", { class: "only", href: address({ ...without(this.app.state), q: "", doc: [one.doc] }), title: `Search only in ${title(one.doc)}`,
          "aria-label": `Search only in ${one.doc}` }, "search in it")));
  }

  async suggest() {
    const of = this.app.facts.index ? "" : "mine";
    if (of && !this.app.mine.pages) return;
    try {
      const found = await server.suggestions(of);
      $("tries").replaceChildren(...(found.length ? [make("span", {}, "Try: ")] : []), ...found.map((one) =>
        make("a", { href: address({ ...without(this.app.state), doc: [], not: [], q: one.question }), title: `${title(one.doc)}, page ${one.page}` }, one.question, make("small", {}, title(one.doc)))));
      $("tries").hidden = !found.length;
    } catch {} // they are an offer; whoever asks is told what is wrong
  }

  async bring(files) {
    if (!files.length) return;
    if (!this.app.facts.uploads) {
      this.app.trouble(new server.Trouble("Your key of this server may only read, so it takes no files."));
      return;
    }
    const { endings, bytes } = this.app.facts.uploads;
    const isTaken = (one) => endings.some((ending) => one.name.toLowerCase().endsWith(ending));
    const others = files.filter((one) => !isTaken(one)).map((one) => one.name);
    this.refused = others.length ? [`${others.join(", ")}: files of this kind are not read; ${endings.join(" ")} are.`] : [];
    let added = [];
    const taken = files.filter(isTaken);
    const size = taken.reduce((sum, one) => sum + one.size, 0);
    if (size > bytes) {
      this.refused.push(`These files have ${Math.ceil(size / 2 ** 20)} MB, and ${Math.floor(bytes / 2 ** 20)} MB is the most at a time. Bring fewer.`);
      this.own();
      this.told(added);
      return;
    }
    this.app.trouble(null);
    $("files").value = "";
    if (taken.length) {
      this.sending = true;
      this.says("Sending …");
      this.watch();
      try {
        const report = await server.upload(taken, (share) => share < 1 && this.says(`Sending, ${Math.round(100 * share)} % …`));
        this.refused.push(...report.files.filter((one) => one.change === "failed").map(reason));
        added = report.files.filter((one) => one.change !== "failed");
      } catch (error) {
        const names = taken.map((one) => one.name).join(", "), was = `${names} ${taken.length > 1 ? "were" : "was"} not added`;
        this.refused.push(error.status >= 500 ? `${was}; try again.` : `${was}: ${error.message}`);
        if (!(error instanceof server.Trouble)) console.error(error);
      }
      this.sending = false;
    }
    await this.app.learn();
    this.own();
    this.told(added);
    this.suggest();
    if (added.length) this.app.repeat();
  }

  // Says beside the answers what was added to what they come from.
  told(added) {
    $("brought").replaceChildren(
      ...added.map((one) => make("span", {}, `${one.file}: ${count(one.pages, "page")} ${one.change === "unchanged" ? "already there" : "added"}. `)),
      ...this.refused.map((one) => make("span", { class: "bad" }, `${one} `)));
  }

  // Looks again and again while files are read.
  async watch() {
    while (this.sending) {
      await new Promise((done) => setTimeout(done, POLL));
      try {
        const { reading } = await server.mine();
        if (reading && this.sending) this.says(progress(reading));
      } catch {} // the upload itself says what is wrong
    }
    this.own();
  }

  says(text) {
    for (const id of ["own-state", "brought"]) $(id).replaceChildren(text ? make("p", { class: "busy" }, text) : "");
  }

  // Shows the visitor's files, and those that could not be read.
  own() {
    if (this.sending) return;
    const { mine, documents } = this.app;
    const left = mine.pages ? make("p", {}, `${count(mine.pages, "page")} of ${count(documents.mine.length, "file")} can be searched, for `,
      hours(mine.forgotten_in), " more.") : null;
    const said = left ? [left] : [];
    if (mine.reading) {
      said.push(make("p", { class: "busy" }, progress(mine.reading)));
      setTimeout(() => this.app.learn().then(() => this.own()), POLL);
    }
    for (const one of this.refused) said.push(make("p", { class: "bad" }, one));
    $("own-state").replaceChildren(...said);
    $("own-documents").replaceChildren(...documents.mine.map((one) => make("li", {},
      make("a", { href: address({ ...without(this.app.state), q: "", show: one.doc, page: "1", of: "mine" }) }, make("span", { class: "name" }, title(one.doc))),
      make("span", { class: "count" }, count(one.pages, "page")),
      make("button", { type: "button", title: `Delete ${one.doc}`, "aria-label": `Delete ${one.doc}`, onclick: () => this.remove(one.doc) }, "×"))));
    $("forget").hidden = documents.mine.length < 2;
    this.stand();
  }

  async remove(doc) {
    await server.remove(doc).catch((error) => this.app.trouble(error));
    await this.app.learn();
    this.own();
  }

  async forget() {
    await server.forget().catch((error) => this.app.trouble(error));
    this.refused = [];
    await this.app.learn();
    this.own();
  }
}

// Lists documents whose names have all words of the filter.
export function fill(list, documents, filter, item) {
  if (!documents) return;
  const words = filter.toLowerCase().split(/\s+/);
  const found = documents.filter((one) => words.every((word) => one.doc.toLowerCase().includes(word)));
  const items = found.slice(0, LISTED).map(item);
  if (!found.length) items.push(make("li", { class: "quiet" }, documents.length ? "No document has this name." : "There is no document yet."));
  if (found.length > LISTED) items.push(make("li", { class: "quiet" }, `and ${(found.length - LISTED).toLocaleString("en")} more; the filter finds them`));
  list.replaceChildren(...items);
}

// Reasons are what follows a name: "is a damaged PDF; copy it again".
const reason = ({ file, reason: why }) => `${file} was not read: ${/^(is|has|holds|cannot|needs|does|unpacks) /.test(why) ? "it " : ""}${why}.`;

function progress(reading) {
  const pages = reading.pages_total ? `${reading.pages} of ${reading.pages_total} pages` : `${reading.pages} pages`;
  const left = reading.seconds_left ? `, about ${hours(reading.seconds_left)} left` : "";
  return `Reading: ${pages}, ${reading.files} of ${reading.files_total} files${left} …`;
}

function hours(seconds) {
  if (seconds >= 5400) return count(Math.round(seconds / 3600), "hour");
  return seconds >= 90 ? count(Math.round(seconds / 60), "minute") : count(Math.max(1, Math.round(seconds)), "second");
}
