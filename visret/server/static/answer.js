// An answer that the language model writes from the pages that were found. Its text stays text; only numbers that the
// server found to be citations of pages become buttons.

import * as server from "./server.js";
import { make, title } from "./parts.js";

const TURNS = 20; // earlier answers that the server takes

export class Written {
  // root: the panel. open(citation): shows the place that is cited. shown(pages): those that the model is shown, if any.
  // further(question): asks one that goes on from the last answer.
  constructor(root, { open, shown, further }) {
    Object.assign(this, { root, open, shown });
    const $ = (name) => root.querySelector(name);
    Object.assign(this, { model: $("small"), list: $(".turns"), wrong: $(".wrong"), stopper: $(".stop"), copier: $(".copy"), form: $(".further") });
    this.turns = []; // what was asked and answered: question, prose (its element), is it over
    this.copied = $(".copied");
    $(".again").addEventListener("click", () => this.ask(this.asked, this.questions));
    this.stopper.addEventListener("click", () => this.halt());
    this.copier.addEventListener("click", () => this.copy());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const field = this.form.querySelector("input"), question = field.value.trim();
      if (!question) return field.focus();
      field.value = "";
      further(question);
    });
  }

  // Has questions answered one after the other. asked: how; questions: the first, and those that go on from it. Answers
  // that are there already stay, unless they were asked in another way.
  async ask(asked, questions) {
    this.stop?.abort();
    const stop = (this.stop = new AbortController()), isSame = JSON.stringify(asked) === JSON.stringify(this.asked);
    let kept = 0;
    while (isSame && kept < questions.length && this.turns[kept]?.isOver && this.turns[kept].question === questions[kept]) kept++;
    Object.assign(this, { asked, questions, turns: this.turns.slice(0, kept), isAway: false });
    this.list.replaceChildren(...this.turns.flatMap((turn) => turn.elements));
    this.wrong.hidden = true;
    this.root.hidden = this.root.querySelector("h2").hidden = false;
    this.copied.textContent = "";
    if (kept) this.shown(this.turns.at(-1).pages);
    this.root.setAttribute("aria-busy", "true");
    this.offer();
    try {
      for (const question of questions.slice(kept)) if (!(await this.write(question, stop))) break;
    } finally {
      if (this.stop === stop) {
        this.root.removeAttribute("aria-busy");
        this.offer();
      }
    }
  }

  // Has one question answered, with the answers before it. Returns whether there is an answer.
  async write(question, stop) {
    const prose = make("p", { class: "prose", role: "status" }), asks = make("p", { class: "asks", hidden: !this.turns.length }, question);
    const turn = { question, prose, elements: [asks, prose], text: "", pages: [], isOver: false };
    const turns = this.turns.filter((one) => one.text).slice(-TURNS).map((one) => ({ question: one.question, answer: plain(one.prose) }));
    this.turns.push(turn);
    this.list.append(...turn.elements);
    this.model.textContent = "";
    this.shown([]);
    prose.textContent = "Reading the pages …";
    if (asks.checkVisibility()) asks.scrollIntoView({ block: "nearest" });
    let isWrong = false;
    try {
      await server.written({ ...this.asked, question, ...(turns.length ? { turns } : {}) }, (name, data) => {
        if (stop.signal.aborted) return;
        if (name === "pages") this.shown((turn.pages = data.pages));
        if (name === "pages") this.model.textContent = `by ${data.model}, from ${data.pages.length} pages; check it at the places it cites`;
        if (name === "nothing") prose.textContent = "Not in these documents: no page answers this well.";
        if (name === "error") isWrong = this.fail(data.detail, turn);
        if (name === "text") prose.replaceChildren(...styled(listed(turn.text += data.text)));
        if (name === "citations") this.cite(turn, data.citations);
        if (name === "done" && data.warnings.length) this.model.textContent += `; ${data.warnings.join("; ")}`;
      }, stop.signal);
    } catch (error) {
      if (error.name === "AbortError") return false;
      this.isAway = Boolean(error.away); // it is asked again with the question
      isWrong = this.fail(error.away ? "the server does not answer" : error.message.replace(/\.$/, ""), turn);
    }
    turn.isOver = !isWrong;
    return turn.isOver;
  }

  // Says why there is no answer, or why it ends: beside what was written, never as if it were written. Returns true.
  fail(why, { text, prose }) {
    this.root.querySelector("h2").hidden = !text && this.turns.length < 2;
    if (!text) prose.textContent = "";
    this.wrong.hidden = false;
    this.wrong.firstChild.textContent = `${text ? "The answer ends here" : "No answer"}: ${why}. The pages below are unaffected. `;
    return true;
  }

  // Ends what is being written; what there is stays, with the numbers in it leading to their pages.
  halt() {
    const turn = this.turns.at(-1);
    this.stop.abort();
    turn.isOver = true;
    if (turn.text) {
      this.cite(turn, [...turn.text.matchAll(/\[(\d{1,2})\]/g)].flatMap((found) => {
        const page = turn.pages[found[1] - 1], start = [...turn.text.slice(0, found.index)].length;
        return page ? [{ ...page, start, end: start + found[0].length, boxes: [] }] : [];
      }));
    } else turn.prose.textContent = "";
    this.model.textContent += `${this.model.textContent && "; "}stopped`;
    this.root.removeAttribute("aria-busy");
    this.offer();
    this.form.querySelector("input").focus();
  }

  // Offers what can be done now.
  offer() {
    const isBusy = this.root.hasAttribute("aria-busy"), isWritten = this.turns.some((turn) => turn.text);
    this.stopper.hidden = !isBusy;
    this.copier.hidden = isBusy || !isWritten;
    this.form.hidden = isBusy || !this.turns.at(-1)?.isOver;
  }

  async copy() {
    const parts = this.turns.filter((turn) => turn.text).flatMap(({ question, prose }) => (this.turns.length > 1 ? [question, plain(prose)] : [plain(prose)]));
    this.copied.textContent = (await copied(parts.join("\n\n"))) ? "Copied." : "The browser allows no copying here; select the text.";
  }

  close() {
    this.stop?.abort();
    this.shown([]);
    this.root.hidden = true;
  }

  // The text, with a button for each citation in place of its brackets.
  cite({ text, prose }, citations) {
    const letters = [...listed(text)]; // the server counts characters, not halves of them
    const nodes = [];
    let at = 0;
    for (const one of citations) {
      if (one.start >= at) {
        nodes.push(...styled(letters.slice(at, one.start).join("")));
        at = one.end;
      }
      nodes.push(one.doc === null
        ? make("span", { class: "uncited", title: `no page [${one.number}] was shown to the model` }, `[${one.number}]`)
        : make("button", { type: "button", class: "cited", title: `${title(one.doc)}, page ${one.page}`,
          "aria-label": `${one.number}: ${title(one.doc)}, page ${one.page}`, onclick: () => this.open(one) }, String(one.number)));
    }
    prose.replaceChildren(...nodes, ...styled(letters.slice(at).join("")));
  }
}

// An answer as plain text, each citation as its document and page.
function plain(prose) {
  let text = "", wasCited = false;
  for (const node of prose.childNodes) {
    if (node.nodeType === Node.TEXT_NODE && !node.data) continue;
    const isCited = node.className === "cited";
    if (isCited) text = wasCited ? `${text.slice(0, -1)}; ${node.title})` : `${text}(${node.title})`;
    else text += node.textContent;
    wasCited = isCited;
  }
  return text.trim();
}

// Puts text on the clipboard; returns whether the browser lets it. Over plain HTTP it has no clipboard, but a command.
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = make("textarea", { value: text, readOnly: true, "aria-hidden": "true" }), focused = document.activeElement;
    document.body.append(field);
    field.select();
    const isDone = document.execCommand("copy");
    field.remove();
    focused?.focus();
    return isDone;
  }
}

// The little Markdown that models write although nobody asks them to: items of lists, bold words and headings.
const listed = (text) => text.replace(/^( *)[-*] /gm, "$1• "); // as long as before, for places in it are counted

function styled(text) {
  const nodes = [];
  let at = 0;
  for (const found of text.matchAll(/\*\*(?=\S)([^*\n]+)\*\*|^#{1,6} +(.+)$/gm)) {
    nodes.push(text.slice(at, found.index), make("strong", {}, found[1] ?? found[2]));
    at = found.index + found[0].length;
  }
  return [...nodes, text.slice(at)];
}
