// The page: what is seen follows from the state in its address, and every act changes that state.

import { Written } from "./answer.js";
import { Hits, filters, json, summary } from "./hits.js";
import { PHONE, count, make, settled, title } from "./parts.js";
import * as server from "./server.js";
import { Start, fill } from "./start.js";
import { address, closed, read, terms, without } from "./state.js";
import { Viewer } from "./viewer.js";

const WAYS = { "": "as usual", late: "late interaction", "late+dense": "late interaction and single vectors", hybrid: "late interaction and words", bm25: "words (BM25)", dense: "single vectors", sparse: "sparse vectors" };
const RETRY = 3000; // milliseconds between attempts to reach a server that is away

const $ = (id) => document.getElementById(id);
const app = {
  facts: null,
  mine: { documents: 0, pages: 0, forgotten_in: null },
  documents: { index: null, mine: [] },
  state: null,
  trouble,
  learn,
  go,
  repeat,
};
const panes = [];
let start, asked = [], questionOf = "", isAway = false;
let draft = null; // what stands in the field of the filter, but is none

// ---- state

// Shows another state, given or made of this one. push: Back returns to the one before.
function go(next, { push = true } = {}) {
  app.state = checked(typeof next === "function" ? next(app.state) : next);
  const to = address(app.state);
  if (to !== address(read())) history[push ? "pushState" : "replaceState"](null, "", to);
  show();
}

addEventListener("popstate", () => {
  app.state = checked(read());
  show();
});

// Links of the page that only change its state need no load.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.defaultPrevented || event.metaKey || event.ctrlKey || event.shiftKey || event.button || link.target) return;
  const to = new URL(link.href);
  if (to.origin !== location.origin || to.pathname !== location.pathname) return;
  event.preventDefault();
  go(read(to.search));
});

// Without a filter that is none: it stays in its field, with what is wrong with it.
function checked(state) {
  try {
    filters(state);
    return state;
  } catch (error) {
    refuse(state.where, error);
    return { ...state, where: "" };
  }
}

// Asks again, for something else can be found now.
function repeat() {
  asked = [];
  show();
}

// ---- what is seen

async function show() {
  const { state } = app;
  const isFound = Boolean(state.q || state.show);
  document.body.className = [isFound ? "found" : "start", state.show ? "reading" : "", state.beside ? "two" : ""].join(" ").trim();
  $("start").hidden = isFound;
  $("found").hidden = !isFound;
  if (state.q !== questionOf) { // else it is the visitor who types, perhaps since before this script was there
    if (state.q || questionOf) $("question").value = state.q;
    questionOf = state.q;
  }
  $("lab").href = `lab/${address({ ...state, show: "", page: "", of: "", show2: "", page2: "", of2: "", z: "", marks: "", beside: "", in: "" }).replace(/^[^?].*/, "")}`;
  document.title = state.q ? `${state.q} – visret` : state.show ? `${title(state.show)} – visret` : "visret";
  if (!app.facts) return;
  fillTools();
  if (!isFound) {
    asked = [];
    panes.forEach((pane) => pane.viewer.close());
    start.stand();
    start.list();
    if (state.doc.length && document.activeElement === document.body) $("question").focus();
    return;
  }
  const ways = state.beside ? 2 : 1;
  while (panes.length < ways) addPane();
  panes.forEach((pane, number) => (pane.root.hidden = number >= ways));
  compare();
  await Promise.all(panes.slice(0, ways).map((pane, number) => showPane(pane, number)));
}

// The written answer of a question, while it is wanted.
function write(pane) {
  const { q, doc, not, where, by, answer, then } = app.state, wanted = answer && app.facts.llm && q.trim(), from = sources();
  const key = JSON.stringify([q, then, doc, not, where, by, from, app.mine.pages]);
  if (!wanted) {
    pane.written.close();
    pane.writtenOf = null;
  } else if (pane.writtenOf !== key || pane.written.isAway) {
    pane.writtenOf = key;
    const parts = filters(app.state);
    pane.written.ask({
      ...(parts.length ? { where: { and: parts } } : {}), ...(by ? { by } : {}), ...(from.length === 1 ? { in: from[0] || "index" } : {}),
    }, [q.trim(), ...then]);
  }
}

async function showPane(pane, number) {
  if (!number) write(pane);
  const { state } = app, way = number ? state.beside : state.by;
  const wanted = JSON.stringify([terms(state), way, app.mine.pages]);
  pane.root.classList.toggle("alone", !state.q);
  pane.root.querySelector(".way").textContent = state.beside ? WAYS[way] ?? way : "";
  pane.root.querySelector(".way").hidden = !state.beside;
  if (state.q && asked[number] !== wanted) {
    asked[number] = wanted;
    pane.said = "";
    say();
    try {
      const said = await pane.hits.ask(terms(state), way, sources(), failed, Number(state.n) || 0);
      if (asked[number] !== wanted) return;
      pane.said = summary(pane.hits.found, said, state);
      trouble(null);
      say();
      compare();
    } catch (error) {
      if (error.name === "AbortError") return;
      compare();
      asked[number] = undefined;
      failed(error);
      return;
    }
  }
  const names = number ? ["show2", "page2", "of2"] : ["show", "page", "of"];
  const [doc, page, of] = names.map((name) => app.state[name]);
  if (doc) {
    pane.hits.select(of, doc, page);
    const { q, z, marks } = app.state, at = number ? "" : app.state.at;
    const found = pane.hits.found.find((hit) => hit.doc === doc && String(hit.page) === page && hit.of === of);
    const by = found && Object.keys(found.scores).join() === "bm25" ? "bm25" : way;
    try {
      await pane.viewer.open({ of, doc, page: Math.max(1, parseInt(page, 10) || 1), q: q.trim(), by, z, marks, at, weak: found?.weak });
      if (isAway) trouble(null);
    } catch (error) {
      instead(error, { of, doc, page }, pane, number);
    }
  } else if (pane.hits.found.length && state.q && !PHONE.matches) {
    shown(number)(pane.hits.found[0], { push: false }); // the best page is there without a click
  } else {
    pane.viewer.close();
  }
}

// Lets two lists of the same question say of each hit which place it has in the other.
function compare() {
  const shown = panes.filter((pane) => !pane.root.hidden);
  const isReady = shown.length === 2 && shown.every(({ root }) => !root.hasAttribute("aria-busy") && !root.classList.contains("stale"));
  panes.forEach((pane, number) => pane.hits.beside(isReady ? panes[1 - number].hits : null));
}

// Shows the best page in place of one that cannot be shown, and says why; without a question, the first screen.
function instead(error, { of, doc, page }, pane, number) {
  if (error.away || !(error instanceof server.Trouble)) return failed(error);
  const best = pane.hits.found[0], isBest = best && best.doc === doc && String(best.page) === page && best.of === of;
  const isOther = of === "mine" && !app.documents.mine.some((one) => one.doc === doc);
  const why = isOther ? "This address points to a file that only its owner can see" : error.message;
  const isThere = app.state.q && best && !isBest, what = `the best page of ${best?.of === "mine" ? "your files" : "the index"}.`;
  trouble(new server.Trouble(isOther ? (isThere ? `${why}; here is ${what}` : `${why}.`) : isThere ? `${why} Here is ${what}` : why));
  if (isThere && !PHONE.matches) shown(number)(best, { push: false });
  else if (isThere || !app.state.q) go(closed(app.state), { push: false });
}

function sources() {
  const there = [];
  if (app.facts.index && app.state.in !== "mine") there.push("");
  if (app.mine.pages && app.state.in !== "index") there.push("mine");
  return there.length ? there : [app.facts.index ? "" : "mine"];
}

function stateOf(number, hit) {
  const page = String(hit.page);
  if (!number && app.state.at) app.state = { ...app.state, at: "" };
  return number ? { ...app.state, show2: hit.doc, page2: page, of2: hit.of } : { ...app.state, show: hit.doc, page, of: hit.of };
}

const shown = (number) => (hit, { push }) => hit && go(stateOf(number, hit), { push });

function addPane() {
  const number = panes.length, root = $("pane").content.cloneNode(true).firstElementChild;
  if (number) {
    root.querySelector(".stage").setAttribute("aria-label", "Page beside it");
    root.querySelector(".strip").setAttribute("aria-label", "Pages of the document beside it that answer");
  }
  $("panes").append(root);
  root.querySelector(".dim").addEventListener("click", toggleDim);
  nameDim();
  const pane = { root, said: "" };
  pane.hits = new Hits(root, {
    open: shown(number),
    stateFor: (hit) => stateOf(number, hit),
    grown: (n) => go({ ...app.state, n: String(n) }, { push: false }),
    narrow: (hit) => go({ ...without(app.state), group_by: "", doc: [hit.doc], in: hit.of || "index" }),
    change,
    isOne: () => (app.facts.index?.documents ?? 0) + app.mine.documents < 2,
  });
  pane.written = new Written(root.querySelector(".written"), {
    shown: (pages) => pane.hits.cite(pages),
    further: (question) => go({ ...app.state, then: [...app.state.then, question] }),
    open: ({ doc, page, in: place, boxes: [box] }) =>
      go({ ...stateOf(number, { doc, page, of: place === "mine" ? "mine" : "" }), at: box ? box.map((edge) => edge.toFixed(4)).join(",") : "" }),
  });
  pane.viewer = new Viewer(root.querySelector(".viewer"), {
    go: (page, how) => go(stateOf(number, { doc: pane.viewer.page.doc, of: pane.viewer.page.of, page }), how),
    zoomed: settled(200, (z) => go({ ...app.state, z }, { push: false })),
    marking: (isOn) => go({ ...app.state, marks: isOn ? "" : "off" }),
    leave: () => (document.fullscreenElement ? document.exitFullscreen() : go(closed(app.state))),
    trouble: failed,
  });
  panes.push(pane);
}

function say() {
  const there = panes.filter((pane) => !pane.root.hidden), busy = there.some((pane) => pane.root.hasAttribute("aria-busy"));
  const alike = there.every((pane) => pane.said === there[0].said);
  const said = (alike ? there.slice(0, 1) : there.filter((pane) => pane.said)).map((pane) =>
    alike ? pane.said : `${pane.root.querySelector(".way").textContent}: ${pane.said}`);
  $("said").textContent = said.join(" ") || (busy ? "Searching …" : "");
}

// ---- trouble

let retrying;
function failed(error) {
  trouble(error);
  if (error.away) {
    clearTimeout(retrying);
    retrying = setTimeout(() => (app.facts ? show() : begin()), RETRY);
  }
}

function trouble(error) {
  isAway = Boolean(error?.away);
  $("trouble").hidden = !error;
  $("trouble").replaceChildren(...(error ? [error.message, error.away
    ? make("button", { type: "button", onclick: () => (app.facts ? show() : begin()) }, "Try now")
    : make("button", { type: "button", "aria-label": "Close", onclick: () => trouble(null) }, "×")] : []));
  if (error && !(error instanceof server.Trouble)) console.error(error);
}

// ---- the bar

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const q = $("question").value.trim();
  if (!q) return $("question").focus();
  if (PHONE.matches) $("question").blur();
  asked = [];
  $("brought").replaceChildren();
  go({ ...without(app.state), q });
});

$("question").addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" && panes[0]?.hits.found.length && app.state.q) {
    event.preventDefault();
    panes[0].hits.focus();
  }
});

document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || event.target.matches("input, select, textarea")) return;
  const pane = panes.find((one) => one.root.contains(document.activeElement)) ?? panes[0], viewer = pane?.viewer;
  const acts = {
    "/": () => $("question").select(),
    n: () => viewer?.turn(1), p: () => viewer?.turn(-1),
    "+": () => viewer?.step(1), "=": () => viewer?.step(1), "-": () => viewer?.step(-1), 0: () => viewer?.zoom(""),
    m: () => viewer?.root.querySelector(".marking").click(), f: () => viewer?.fullscreen(),
    d: () => isDark() && toggleDim(),
    Escape: () => PHONE.matches && app.state.show && !document.fullscreenElement && go(closed(app.state)),
  };
  if (!acts[event.key]) return;
  if (event.key !== "Escape") event.preventDefault();
  acts[event.key]();
});

const dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
function nameTheme() {
  $("theme").textContent = isDark() ? "Light" : "Dark";
}
function choose(name, value) {
  document.documentElement.dataset[name] = value;
  try {
    localStorage.setItem(`visret-${name}`, value);
  } catch {} // storage is switched off: it is forgotten with the page
}
$("theme").addEventListener("click", () => {
  choose("theme", isDark() ? "light" : "dark");
  nameTheme();
});
// Pages are dimmed in the dark, unless somebody wants them bright. Colours stay what they are.
function nameDim() {
  const isDim = document.documentElement.dataset.pages !== "bright";
  for (const button of document.querySelectorAll(".dim")) button.setAttribute("aria-pressed", String(isDim));
}
function toggleDim() {
  choose("pages", document.documentElement.dataset.pages === "bright" ? "dim" : "bright");
  nameDim();
}
dark.addEventListener("change", nameTheme);
nameTheme();

// ---- the tools

function fillTools() {
  const { state, facts } = app;
  const ways = facts.index?.ways ?? ["late", "hybrid", "bm25", "dense"];
  options($("by"), ["", ...ways], state.by, WAYS);
  options($("beside"), ["", ...ways], state.beside, { ...WAYS, "": "nothing" });
  options($("rerank"), ["", ...facts.rerankers], state.rerank, { "": "nothing" });
  $("rerank-label").hidden = !facts.rerankers.length;
  $("group").checked = state.group_by === "document";
  $("weak").checked = state.weak === "false";
  if (document.activeElement !== $("where")) $("where").value = draft ?? state.where;
  $("filtering").hidden = !facts.metadata && !state.where && draft === null;
  $("yours").hidden = !app.mine.pages;
  $("yours").textContent = `+ ${count(app.mine.pages, "page")} of yours`;
  $("answer-label").hidden = !facts.llm;
  $("answer").checked = Boolean(state.answer);
  const chosen = state.doc.length;
  const within = chosen === 1 ? title(state.doc[0]) : chosen ? `${chosen} documents` : { index: "The index", mine: "Your own files" }[state.in] ?? "All documents";
  $("scope").querySelector("summary").textContent = within + (state.where.trim() ? ", filtered" : "");
  const both = facts.index && app.mine.pages;
  $("where-to-search").hidden = !both;
  $("where-to-search").replaceChildren(...[["", "Everything"], ["index", "The index"], ["mine", "Your own files"]].map(([value, name]) =>
    make("label", {}, make("input", { type: "radio", name: "in", value, checked: state.in === value, onchange: () => change({ in: value }) }), name)));
  chooser();
}

function chooser() {
  const all = [...(app.documents.index ?? []), ...app.documents.mine];
  fill($("scope-documents"), all, $("scope-filter").value, (one) => make("li", {}, make("label", {},
    make("input", { type: "checkbox", checked: app.state.doc.includes(one.doc), onchange: (event) =>
      change({ doc: event.target.checked ? [...app.state.doc, one.doc] : app.state.doc.filter((doc) => doc !== one.doc) }) }),
    title(one.doc))));
}

function options(select, values, chosen, names) {
  const there = values.includes(chosen) ? values : [...values, chosen];
  select.replaceChildren(...there.map((value) => new Option(names[value] ?? value, value, false, value === chosen)));
}

const change = (changes) => go({ ...without(app.state), ...changes });
$("by").addEventListener("change", () => change({ by: $("by").value }));
$("beside").addEventListener("change", () => change({ beside: $("beside").value }));
$("rerank").addEventListener("change", () => change({ rerank: $("rerank").value }));
$("group").addEventListener("change", () => change({ group_by: $("group").checked ? "document" : "" }));
$("weak").addEventListener("change", () => change({ weak: $("weak").checked ? "false" : "" }));
$("answer").addEventListener("change", () => go({ ...app.state, answer: $("answer").checked ? "yes" : "" }));
$("where").addEventListener("change", () => {
  const where = $("where").value.trim();
  try {
    if (where) json(where);
  } catch (error) {
    refuse(where, error);
    return;
  }
  refuse(null);
  change({ where });
});

// Says at the field of the filter what is wrong with the text in it; null: nothing is.
function refuse(text, error) {
  draft = text;
  $("where-wrong").hidden = text === null;
  $("where-wrong").textContent = error?.message ?? "";
  $("where").setAttribute("aria-invalid", String(text !== null));
  if (text !== null) $("scope").open = true;
}
$("scope-filter").addEventListener("input", chooser);
for (const menu of [$("scope"), $("legend")]) {
  document.addEventListener("click", (event) => {
    if (menu.open && !menu.contains(event.target) && document.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
}

// ---- the beginning

// Learns what the visitor's own collection holds now.
async function learn() {
  try {
    app.mine = await server.mine();
    app.documents.mine = app.mine.documents ? await server.documents("mine") : [];
  } catch (error) {
    failed(error);
  }
}

async function begin() {
  try {
    app.facts = await server.start();
  } catch (error) {
    failed(error);
    return;
  }
  trouble(null);
  $("lab").hidden = !app.facts.lab;
  start ??= new Start(app);
  await learn();
  start.show();
  start.own();
  start.bring([...$("files").files]); // chosen before this script was there
  show();
  if (app.facts.index) {
    app.documents.index = await server.documents("").catch((error) => failed(error) ?? []);
    start.list();
    chooser();
  }
  start.suggest();
}

app.state = checked(read());
show();
begin();
