// Hits as a list of answers: what was found for a question, asked in one way of ranking.

import * as server from "./server.js";
import { PHONE, folder, frames, make, marked, opening, place, title } from "./parts.js";
import { address } from "./state.js";

const K = 10;
const MOST = 200; // hits that an address lists again at once
const QUOTED = 330, SEEN = 165; // characters of a passage: in the page, and in the lines of it that are seen
const THUMBNAIL_DPI = 24;
const DRAWN = 150; // characters of a thumbnail of plain text

export class Hits {
  // root: the pane. open(hit, {push}): shows its page. stateFor(hit): the state that does. narrow(hit): asks in its document.
  // grown(n): there are so many hits in the list now. change(changes): asks in another way. isOne(): whether there is
  // only one document to be found.
  constructor(root, { open, stateFor, narrow, grown, change, isOne }) {
    Object.assign(this, { root, open, stateFor, narrow, grown, change, isOne });
    this.alike = root.querySelector(".alike");
    this.old = root.querySelector(".old");
    this.items = root.querySelector(".hits");
    this.further = root.querySelector(".more");
    this.further.addEventListener("click", () => this.more().catch((error) => error.name !== "AbortError" && this.fails(error)));
    this.items.addEventListener("click", (event) => {
      const link = event.target.closest("a.hit");
      if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
      event.preventDefault();
      this.open(this.found[link.dataset.number], { push: true });
    });
    this.items.addEventListener("keydown", (event) => this.steer(event));
    this.found = [];
    this.numbers = [];
    this.terms = this.other = null;
  }

  // Asks for a question. Returns what was said of the answer; the first n hits are shown then. Until there is an answer,
  // and if there is none, the hits of the question before stay, and it is said that they are.
  async ask(terms, by, sources, fails, n) {
    this.fails = fails;
    this.stop?.abort();
    const stop = (this.stop = new AbortController());
    const next = { best: null, terms: { ...terms, by }, sources: sources.map((of) => ({ of, next: 0, more: true, waiting: [] })), found: [] };
    this.root.setAttribute("aria-busy", "true");
    try {
      await this.load(next, Math.min(MOST, Math.max(K, n)), stop.signal);
      stop.signal.throwIfAborted();
    } catch (error) {
      if (this.stop === stop) this.age();
      throw error;
    } finally {
      if (this.stop === stop) this.root.removeAttribute("aria-busy");
    }
    Object.assign(this, next);
    this.root.classList.remove("stale");
    this.old.hidden = true;
    this.items.replaceChildren();
    this.draw();
    if (terms.group_by) this.count(stop.signal).catch((error) => error.name !== "AbortError" && fails(error));
    return this.said;
  }

  // Says of the hits that are there that they answer another question than the one that was asked last.
  age() {
    if (!this.found.length) return;
    this.root.classList.add("stale");
    this.old.hidden = false;
    this.old.textContent = `These pages answer what was asked before: “${this.terms.q}”`;
  }

  // Says how many of the best pages a document holds, of which the list shows one.
  async count(signal) {
    const all = { terms: { ...this.terms, group_by: "" }, sources: this.sources.map(({ of }) => ({ of, next: 0, more: true, waiting: [] })), found: [] };
    await this.load(all, K, signal);
    if (this.stop.signal !== signal) return;
    this.best = all.found;
    this.tell();
  }

  tell() {
    for (const item of this.items.children) {
      const hit = this.found[item.firstChild.dataset.number];
      const pages = this.best?.filter((one) => one.of === hit.of && one.doc === hit.doc).length ?? 0;
      item.querySelector(".share").textContent = pages > 1 ? `${pages} of the ${this.best.length} best pages` : "";
    }
  }

  // Says so if all hits are pages of one document, or weak ones that are left out, and offers to see others.
  compareDocuments() {
    const { doc, not, group_by } = this.terms, first = this.found[0];
    const isAlike = this.found.length > 1 && !group_by && doc.length !== 1 && !this.isOne() && this.found.every((hit) => hit.doc === first.doc && hit.of === first.of);
    const act = (name, changes) => make("button", { type: "button", onclick: () => this.change(changes) }, name);
    const isEmpty = !this.found.length && Boolean(this.terms.weak);
    this.alike.hidden = !isAlike && !not.length && !isEmpty;
    this.alike.replaceChildren(
      ...(isEmpty ? ["No page answers this well. ", act("Show the nearest pages", { weak: "" })] : []),
      ...(not.length ? [`Without ${not.map(title).join(", ")}. `, act("Search there too", { not: [] })] : []),
      ...(isAlike ? [`All ${this.found.length} from ${title(first.doc)}. `, act("Each document once", { group_by: "document" }),
        act("Leave it out", { not: [...not, first.doc] })] : []));
  }

  // Loads k more hits into `into`, which is this object, or will be.
  async load(into, k, signal) {
    const { q, by, rerank, group_by, weak } = into.terms, parts = filters(into.terms);
    const asked = { question: q, k, marks: true };
    if (parts.length) asked.where = { and: parts };
    if (by) asked.by = by;
    if (rerank) asked.rerank = rerank;
    if (group_by) asked.group_by = group_by;
    if (weak) asked.weak = false;
    into.said = { warnings: [] };
    await Promise.all(into.sources.filter((source) => source.more && source.waiting.length < k).map(async (source) => {
      const answer = await server.search(source.of, { ...asked, offset: source.next }, signal).catch((error) => {
        // A key that only the other collection has, or none at all: the visitor's files answer what they can.
        if (source.of && into.sources.length > 1 && !error.away && error.name !== "AbortError") return { hits: [], warnings: [] };
        throw error;
      });
      source.waiting.push(...answer.hits.map((hit) => ({ ...hit, of: source.of })));
      source.next += k;
      source.more = answer.hits.length > 0 && (answer.hits.length === k || Boolean(weak)) && source.next < 10000;
      into.said.warnings.push(...answer.warnings.filter((one) => !into.said.warnings.includes(one)));
    }));
    // Both collections in one list: relevance means the same in each, and the order within each stays.
    for (let taken = 0; taken < k; taken++) {
      const ready = into.sources.filter((source) => source.waiting.length);
      if (!ready.length) break;
      const worth = ({ waiting: [hit] }) => hit.relevance ?? -1;
      ready.sort((a, b) => worth(b) - worth(a));
      into.found.push(ready[0].waiting.shift());
    }
  }

  async more() {
    const first = this.items.children.length;
    this.further.disabled = true;
    try {
      await this.load(this, K, this.stop.signal);
    } finally {
      this.further.disabled = false;
    }
    this.draw();
    this.grown(this.found.length);
    this.items.children[first]?.querySelector("a.hit").focus();
  }

  draw() {
    const best = Math.max(...this.found.map((hit) => hit.score ?? 0), 1e-9);
    for (let number = this.items.children.length; number < this.found.length; number++) {
      this.items.append(this.item(this.found[number], number, best));
    }
    this.further.hidden = !this.isCut;
    this.compareDocuments();
    this.tell();
    this.cite(this.numbers);
    this.rank();
    this.other?.rank();
  }

  // Whether there may be more hits than are listed.
  get isCut() {
    return this.found.length > 0 && this.sources.some((source) => source.more || source.waiting.length);
  }

  // Says of each hit which place it has here, and which in another list. other: that list, or null.
  beside(other) {
    this.other = other;
    this.rank();
  }

  rank() {
    if (!this.terms) return;
    const { other } = this, named = (hit) => JSON.stringify(this.terms.group_by ? [hit.of, hit.doc] : [hit.of, hit.doc, hit.page]);
    const there = new Map(other?.found.map((hit, at) => [named(hit), at + 1]));
    const none = other?.isCut ? `not among the first ${other.found.length} of the other list` : "not in the other list";
    for (const link of this.items.querySelectorAll("a.hit")) {
      const place = there.get(named(this.found[link.dataset.number]));
      link.querySelector(".rank").textContent = other ? `${Number(link.dataset.number) + 1}.` : "";
      link.querySelector(".there").textContent = !other ? "" : place ? `place ${place} in the other list` : none;
    }
  }

  // Shows the numbers by which the written answer cites pages. pages: as it names them.
  cite(pages) {
    this.numbers = pages;
    for (const link of this.items.querySelectorAll("a.hit")) {
      const hit = this.found[link.dataset.number];
      const cited = pages.find((one) => one.doc === hit.doc && one.page === hit.page && (one.in === "mine") === (hit.of === "mine"));
      link.querySelector(".cites").textContent = cited ? `[${cited.number}]` : "";
    }
  }

  item(hit, number, best) {
    const strength = hit.relevance ?? Math.max(0, (hit.score ?? 0) / best) * 0.9;
    const printed = hit.label ? ` · printed ${hit.label}` : "";
    const quote = hit.passage?.text ? quotation(hit.passage.text, hit.passage.marked ?? [])
      : [hit.text || (hit.passage ? "A page without text; its picture answers." : "Nothing on this page matches the question.")];
    const thumbnail = make("span", { class: "thumb" });
    const drawn = make("img", { alt: "", loading: "lazy", decoding: "async", src: server.picture(hit.of, hit.doc, hit.page, `dpi=${THUMBNAIL_DPI}`) });
    drawn.addEventListener("error", () => // plain text, and files that are gone, have no picture
      drawn.replaceWith(make("span", { class: "words", "aria-hidden": "true" }, ...marked(hit.passage?.text ?? hit.text, hit.passage?.marked ?? [], 0, DRAWN))));
    thumbnail.append(drawn, ...frames(hit.passage?.boxes ?? []).map((box) => place(make("i"), box)));
    const level = Math.round(100 * Math.min(1, strength));
    const means = `${hit.relevance === null ? "Its score beside the best one" : "How well it answers"}: ${level} of 100${hit.weak ? ", weak" : ""}`;
    const bar = make("span", { class: "bar", role: "img", "aria-label": means, title: means }, make("i"));
    bar.firstChild.style.width = `${level}%`;
    const state = this.stateFor(hit);
    const item = make("li", { class: hit.weak ? "weak" : "" },
      make("a", { class: "hit", href: address(state), "data-number": String(number) },
        thumbnail,
        make("span", { class: "body" },
          make("span", { class: "head" }, make("span", { class: "rank", title: "The place in this list" }), make("span", { class: "cites", title: "The number by which the answer cites it" }), make("strong", { title: hit.doc }, title(hit.doc)), make("span", { class: "at" }, `p. ${hit.page}${printed}`)),
          make("span", { class: "quote" }, ...quote),
          make("span", { class: "foot" }, bar,
            make("span", { class: "share" }), make("span", { class: "there" }),
            make("span", { class: "strength" }, hit.weak ? "weak match" : hit.unscored ? "not read again" : ""),
            make("span", { class: "folder" }, hit.of === "mine" ? "your file" : folder(hit.doc))))));
    if (this.terms.group_by) {
      item.append(make("button", { type: "button", class: "within", "aria-label": `More from it: ${title(hit.doc)}`, onclick: () => this.narrow(hit) }, "More from it"));
    }
    return item;
  }

  // Marks the hit whose page is shown. Returns whether there is one.
  select(of, doc, page) {
    let there = false;
    for (const link of this.items.querySelectorAll("a.hit")) {
      const hit = this.found[link.dataset.number];
      const is = hit.doc === doc && String(hit.page) === String(page) && hit.of === of;
      there ||= is;
      link.toggleAttribute("aria-current", is);
      if (is) link.setAttribute("aria-current", "true");
    }
    return there;
  }

  steer(event) {
    const links = [...this.items.querySelectorAll("a.hit")], at = links.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    if (to < 0) {
      document.getElementById("question").focus();
      return;
    }
    const link = links[Math.min(to, links.length - 1)];
    link.focus();
    link.scrollIntoView({ block: "nearest" });
    if (!PHONE.matches) this.open(this.found[link.dataset.number], { push: false });
  }

  focus() {
    (this.items.querySelector("a.hit[aria-current]") ?? this.items.querySelector("a.hit"))?.focus();
  }
}

const quotation = (text, marks) => marked(text.replace(/\s/g, " "), marks, opening(text, marks, SEEN), QUOTED);

// The filters of a state, as the server takes them.
export const filters = ({ doc, not, where }) => [...(doc.length ? [{ doc }] : []), ...(not.length ? [{ not: { doc: not } }] : []), ...(where.trim() ? [json(where)] : [])];

export function json(text) {
  try {
    const value = JSON.parse(text);
    if (value && typeof value === "object" && !Array.isArray(value)) return value;
  } catch {} // said below
  throw new server.Trouble('The metadata must be a JSON object, such as {"year": {">=": 2020}}.');
}

export function summary(found, said, state) {
  const told = [];
  if (!found.length && !said.warnings.length) {
    told.push(state.weak ? "No page answers this; weak pages are left out."
      : state.doc.length || state.not.length || state.where.trim() ? "No page passes the filter." : "No page has the words of this question.");
  } else if (found[0]?.weak) {
    told.push("No page answers this well; these are the nearest.");
  }
  told.push(...said.warnings.map((one) => `${one[0].toUpperCase()}${one.slice(1)}.`));
  return told.join(" ");
}

