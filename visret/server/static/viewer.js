// One page of a document: drawn by the server at any size, with text that can be selected, and the places that answer.

import * as server from "./server.js";
import { PHONE, frames, make, marked, place, settled, title, withRoom } from "./parts.js";

const STEPS = [25, 33, 50, 67, 80, 100, 125, 150, 200, 300, 400, 600, 800];
const DPI = [60, 90, 130, 200]; // at which whole pages are drawn; beyond, only what is seen
const MAX_DPI = 1200, MAX_PIXELS = 12e6;
const MARGIN = 4; // CSS pixels beside a page that fits the width, within the padding of the stage
const READABLE = 11, PLEASANT = 18; // CSS pixels of a line of print: smaller is enlarged on a phone, up to the other
const PRINT = 12; // points of a line of print where no words are known
const ABOVE = 18; // points of the page that a link shows above its place
const OF_DOCUMENT = 40; // marked pages of a document in the strip

const ruler = document.createElement("canvas").getContext("2d");
ruler.font = "100px sans-serif";
const widths = new Map();
function natural(text) {
  if (!widths.has(text)) widths.set(text, ruler.measureText(text).width / 100);
  return widths.get(text);
}

export class Viewer {
  // go(page, {push}): shows another page of the document. zoomed(z), marking(isOn): note what was chosen. leave(): back to the list.
  constructor(root, { go, zoomed, marking, leave, trouble }) {
    Object.assign(this, { root, go, zoomed, leave, trouble });
    const $ = (name) => root.querySelector(name);
    Object.assign(this, {
      stage: $(".stage"), sheet: $(".sheet"), drawn: $(".drawn"), sharp: $(".sharp"), marks: $(".marks"), text: $(".text"),
      whole: $(".whole"), strip: $(".strip"), asked: $(".asked"), tip: $(".tip"), number: $(".number"), scale: $(".scale"), openLink: $(".open"),
    });
    $(".previous").addEventListener("click", () => this.turn(-1));
    $(".next").addEventListener("click", () => this.turn(1));
    $(".in").addEventListener("click", () => this.step(1));
    $(".out").addEventListener("click", () => this.step(-1));
    $(".scale").addEventListener("click", () => this.zoom(""));
    this.whole.addEventListener("click", () => this.toggleWhole());
    $(".full").addEventListener("click", () => this.fullscreen());
    $(".back").addEventListener("click", () => this.leave());
    $(".marking").addEventListener("click", () => marking(root.classList.contains("unmarked")));
    this.sharpen = settled(160, () => this.sharpenNow());
    this.stage.addEventListener("scroll", () => this.sharpen(), { passive: true });
    new ResizeObserver(() => this.shown && this.refit()).observe(this.stage);
    this.stage.addEventListener("pointermove", (event) => this.hover(event));
    this.stage.addEventListener("pointerleave", () => (this.tip.hidden = true));
    this.stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.text.addEventListener("copy", (event) => this.copy(event));
    this.drawn.addEventListener("error", () => this.shown && this.lacks());
    this.pinch();
  }

  // Shows a page, or throws: then what was shown stays, dimmed, if the server is away, and else nothing is shown.
  // given: of, doc, page, q, by, z, marks, at; weak: whether it is a weak hit.
  async open(given) {
    const before = this.shown, key = JSON.stringify(["of", "doc", "page", "q", "by", "at"].map((name) => given[name]));
    const edges = (given.at ?? "").split(",").map(Number);
    this.place = edges.length === 4 && edges.every((edge) => edge >= 0 && edge <= 1) ? edges : null;
    const same = before && this.key === key;
    this.shown = given;
    this.key = key;
    this.root.hidden = false;
    this.root.classList.toggle("unmarked", given.marks === "off");
    this.root.querySelector(".marking").setAttribute("aria-pressed", String(given.marks !== "off"));
    if (same) {
      if (before.z !== given.z) this.fit();
      return; // it is shown, or on its way
    }
    this.root.setAttribute("aria-busy", "true");
    if (!this.page) this.head(given.doc); // so that the heading is never without words
    try {
      const [text, why] = await Promise.all([
        server.text(given.of, given.doc, given.page),
        given.q ? server.explanation(given.of, given.doc, given.page, given.q, given.by) : null,
      ]);
      if (this.key !== key) return;
      const samePage = this.page && ["of", "doc", "page"].every((name) => this.page[name] === given[name]);
      this.page = { ...given, ...text, why, of: given.of };
      this.root.removeAttribute("aria-busy");
      this.show(samePage);
      this.root.dispatchEvent(new CustomEvent("shown", { bubbles: true }));
      this.find();
    } catch (error) {
      if (this.key !== key) return;
      if (error.away && this.page) this.key = null; // so that it is tried again
      else this.close();
      throw error;
    }
  }

  close() {
    this.shown = this.page = this.key = null;
    this.root.hidden = true;
    this.root.removeAttribute("aria-busy");
  }

  head(doc) {
    const heading = this.root.querySelector(".title");
    heading.textContent = title(doc);
    heading.title = doc;
  }

  show(samePage) {
    const { of, doc, page, pages, label, size_pt, why, words, text, q, by } = this.page;
    const at = pages.indexOf(page);
    this.head(doc);
    this.root.querySelector(".marking").hidden = !q;
    this.strip.hidden = !q || pages.length < 2; // its room is there before its marks
    if (this.stripOf !== JSON.stringify([of, doc, q, by])) this.strip.replaceChildren();
    this.number.replaceChildren(`page ${page}`, make("span", {}, label ? ` (printed ${label})` : ""), ` of ${pages.at(-1)}`);
    this.root.querySelector(".previous").disabled = at <= 0;
    this.root.querySelector(".next").disabled = at === pages.length - 1;
    const passage = why?.passages[0];
    const link = `#page=${page}${passage?.boxes.length ? view(passage.boxes_pt, size_pt) : ""}`;
    this.openLink.href = server.file(of, doc, page, /\.pdf$/i.test(doc) ? link : "");
    this.openLink.firstChild.textContent = this.openLink.title = /\.pdf$/i.test(doc) ? "Open the PDF" : "Open the file";
    this.openLink.setAttribute("aria-label", this.openLink.title);
    this.marks.replaceChildren();
    this.text.replaceChildren();
    this.sharp.hidden = true;
    this.sharp.removeAttribute("src");
    this.sheet.classList.toggle("plain", !size_pt);
    this.drawn.hidden = !size_pt;
    this.names();
    if (!size_pt) {
      this.sheet.removeAttribute("style");
      const spans = why?.spans ?? [];
      this.text.append(...marked(text, spans));
      this.drawn.removeAttribute("src");
      this.text.querySelector("mark")?.scrollIntoView({ block: "center" });
      return;
    }
    this.drawn.alt = `Page ${page} of ${title(doc)}`;
    this.dpi = 0;
    const printed = (words ?? []).map((word) => word.box);
    this.framed = (this.place ? [this.place] : frames(passage?.boxes ?? [])).map((box) => withRoom(box, printed));
    for (const box of this.framed) {
      this.marks.append(place(make("div", { class: this.place ? "frame cited-place" : "frame" }), box));
    }
    for (const mark of why?.marks ?? []) {
      const element = place(make("div", { class: "mark" }), [mark.x0, mark.y0, mark.x1, mark.y1]);
      element.style.opacity = String(0.35 + 0.45 * mark.level);
      element.dataset.words = mark.words.join(" ");
      this.marks.append(element);
    }
    if (words) this.layText(words, size_pt);
    this.fit();
    if (!samePage || why || this.place) this.toPassage();
  }

  // The words of the question, each of which shows its own marks.
  names() {
    const { why } = this.page;
    const told = (why?.words ?? []).filter((word) => word.tells && why.marks.some((mark) => mark.words.includes(word.text)));
    this.asked.hidden = !told.length;
    this.asked.replaceChildren(...(told.length ? [make("span", {}, "Marked for: ")] : []), ...told.map((word) => {
      const button = make("button", { type: "button", "aria-pressed": "false", title: `Show only what is marked for “${word.text}”` }, word.text);
      for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => this.only(word.text));
      for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => this.only(this.held));
      button.addEventListener("click", () => {
        this.held = this.held === word.text ? null : word.text;
        for (const one of this.asked.querySelectorAll("button")) one.setAttribute("aria-pressed", String(this.held === one.textContent));
        this.only(this.held);
        if (this.held) this.scrollTo(why.marks.find((mark) => mark.words.includes(word.text)));
      });
      return button;
    }));
    this.held = null;
  }

  // Shows the marks of one word of the question only, or all.
  only(word) {
    for (const mark of this.marks.querySelectorAll(".mark")) {
      const is = mark.dataset.words.split(" ").includes(word);
      mark.classList.toggle("dim", Boolean(word) && !is);
      mark.classList.toggle("lit", Boolean(word) && is);
    }
  }

  // Words over their print, transparent: they can be selected and found, and are copied in reading order.
  layText(words, [width, height]) {
    const spans = words.map((word, number) => {
      const [x0, y0, x1, y1] = word.box, next = words[number + 1];
      const joined = next && next.line === word.line;
      const size = (y1 - y0) * height;
      const wanted = joined && next.box[0] >= x1 ? (next.box[0] - x0) * width : (x1 - x0) * width;
      const shown = joined ? `${word.text} ` : word.text;
      const span = make("span", {}, shown);
      span.style.left = `${100 * x0}%`;
      span.style.top = `${100 * y0}%`;
      span.style.fontSize = `${100 * (y1 - y0)}cqh`;
      if (size > 0 && wanted > 0) span.style.transform = `scaleX(${wanted / (natural(shown) * size)})`;
      span.dataset.line = String(word.line);
      return span;
    });
    this.text.replaceChildren(...spans);
  }

  copy(event) {
    const selection = getSelection();
    if (!selection.rangeCount || !this.page?.words) return;
    const range = selection.getRangeAt(0);
    let out = "", line = null;
    for (const span of this.text.children) {
      if (!range.intersectsNode(span)) continue;
      const node = span.firstChild;
      const first = range.startContainer === node ? range.startOffset : 0;
      const end = range.endContainer === node ? range.endOffset : node.length;
      if (line !== null && line !== span.dataset.line) out = `${out.trimEnd()}\n`;
      out += node.data.slice(first, end);
      line = span.dataset.line;
    }
    event.clipboardData.setData("text/plain", out.trimEnd());
    event.preventDefault();
  }

  // ---- size

  get factor() { // CSS pixels for a point
    const [width, height] = this.page.size_pt, { z } = this.shown, room = this.room();
    if (z === "page") return Math.max(0.1, Math.min(room.width / width, room.height / height));
    if (Number(z) > 0) return (96 / 72) * (Number(z) / 100);
    const fitting = Math.min(3, Math.max(0.1, room.width / width));
    return PHONE.matches ? Math.max(fitting, this.readable(fitting, room.width)) : fitting;
  }

  room() { // CSS pixels that a page may take
    const style = getComputedStyle(this.stage), sum = (...names) => names.reduce((all, name) => all + parseFloat(style[name]), MARGIN);
    return {
      width: this.stage.clientWidth - sum("paddingLeft", "paddingRight"),
      height: this.stage.clientHeight - sum("paddingTop", "paddingBottom"),
    };
  }

  // The factor at which the passage can be read, if it cannot be where the page fits; its lines fit then. Or 0.
  readable(fitting, room) {
    const [frame] = this.framed ?? [], [width, height] = this.page.size_pt;
    if (!frame) return 0;
    const within = (this.page.words ?? []).map((word) => word.box)
      .filter(([x0, y0, x1, y1]) => x0 >= frame[0] && y0 >= frame[1] && x1 <= frame[2] && y1 <= frame[3]);
    const lines = within.map((box) => (box[3] - box[1]) * height).sort((a, b) => a - b);
    const print = lines[lines.length >> 1] || PRINT;
    return print * fitting >= READABLE ? 0 : Math.min(room / ((frame[2] - frame[0]) * width), PLEASANT / print);
  }

  // The whole page, and back to the passage.
  toggleWhole() {
    const isWhole = this.shown?.z === "page";
    this.zoom(isWhole ? "" : "page");
    if (isWhole && this.page.size_pt) this.toPassage();
  }

  fit() {
    if (!this.page?.size_pt || !this.stage.clientWidth) return;
    const [width, height] = this.page.size_pt, before = this.sheet.offsetWidth;
    const middle = before ? this.middle() : null;
    this.sheet.style.width = `${Math.round(width * this.factor)}px`;
    this.sheet.style.height = `${Math.round(height * this.factor)}px`;
    const percent = Math.round((100 * this.factor * 72) / 96);
    this.scale.textContent = `${percent} %`;
    this.scale.setAttribute("aria-label", `${percent} per cent; fit the width`);
    this.whole.setAttribute("aria-pressed", String(this.shown.z === "page"));
    if (middle && before !== this.sheet.offsetWidth) this.keep(middle);
    const needed = 72 * this.factor * devicePixelRatio;
    const dpi = DPI.find((one) => one >= needed * 0.95) ?? DPI.at(-1);
    if (dpi > this.dpi) {
      this.dpi = dpi;
      this.drawn.src = server.picture(this.page.of, this.page.doc, this.page.page, `dpi=${dpi}`);
    }
    this.sharpen();
  }

  // The point of the page in the middle of the stage, in fractions; or under a pointer.
  middle(x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    return {
      x, y,
      over: (this.stage.scrollLeft + x - this.sheet.offsetLeft) / this.sheet.offsetWidth,
      down: (this.stage.scrollTop + y - this.sheet.offsetTop) / this.sheet.offsetHeight,
    };
  }

  keep({ x, y, over, down }) {
    this.stage.scrollLeft = over * this.sheet.offsetWidth + this.sheet.offsetLeft - x;
    this.stage.scrollTop = down * this.sheet.offsetHeight + this.sheet.offsetTop - y;
  }

  zoom(z, at) {
    if (!this.page?.size_pt) return;
    const middle = this.middle(at?.x, at?.y);
    const bounded = z === "" || z === "page" ? z : String(Math.round(Math.min(STEPS.at(-1), Math.max(STEPS[0], Number(z)))));
    this.shown = { ...this.shown, z: bounded };
    this.fit();
    this.keep(middle);
    this.zoomed(bounded);
  }

  step(by) {
    if (!this.page?.size_pt) return;
    const now = (100 * this.factor * 72) / 96;
    const next = by > 0 ? STEPS.find((one) => one > now * 1.02) : STEPS.findLast((one) => one < now * 0.98);
    this.zoom(next ?? now);
  }

  wheel(event) {
    if (!event.ctrlKey) return; // a pinch on a trackpad comes with it
    event.preventDefault();
    const box = this.stage.getBoundingClientRect();
    const now = (100 * this.factor * 72) / 96;
    this.zoom(now * Math.exp(-event.deltaY / 200), { x: event.clientX - box.left, y: event.clientY - box.top });
  }

  // Two fingers on the page; one scrolls it as anything else.
  pinch() {
    const fingers = new Map();
    let begun = null;
    const distance = () => {
      const [a, b] = [...fingers.values()];
      return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    };
    this.stage.addEventListener("touchstart", (event) => {
      fingers.clear();
      for (const one of event.touches) fingers.set(one.identifier, one);
      begun = fingers.size === 2 && this.page?.size_pt ? { distance: distance(), zoom: (100 * this.factor * 72) / 96 } : null;
    }, { passive: true });
    this.stage.addEventListener("touchmove", (event) => {
      if (!begun || event.touches.length !== 2) return;
      event.preventDefault();
      for (const one of event.touches) fingers.set(one.identifier, one);
      const [a, b] = [...fingers.values()], box = this.stage.getBoundingClientRect();
      const at = { x: (a.clientX + b.clientX) / 2 - box.left, y: (a.clientY + b.clientY) / 2 - box.top };
      this.zoom((begun.zoom * distance()) / begun.distance, at);
    }, { passive: false });
    this.stage.addEventListener("touchend", () => (begun = null), { passive: true });
  }

  // Has the part that is seen drawn again, as fine as the screen shows it.
  sharpenNow() {
    if (!this.page?.size_pt || this.drawn.hidden) return;
    const dpi = Math.min(MAX_DPI, Math.ceil(72 * this.factor * devicePixelRatio));
    if (dpi <= this.dpi * 1.05) {
      this.sharp.hidden = true;
      return;
    }
    const { offsetWidth: width, offsetHeight: height, offsetLeft: left, offsetTop: top } = this.sheet;
    const seen = [
      (this.stage.scrollLeft - left) / width, (this.stage.scrollTop - top) / height,
      (this.stage.scrollLeft - left + this.stage.clientWidth) / width, (this.stage.scrollTop - top + this.stage.clientHeight) / height,
    ].map((edge) => Math.min(1, Math.max(0, edge)));
    const [wide, high] = this.page.size_pt;
    const pixels = ((seen[2] - seen[0]) * wide * (seen[3] - seen[1]) * high * dpi ** 2) / 72 ** 2;
    const fine = Math.floor(dpi * Math.min(1, Math.sqrt(MAX_PIXELS / Math.max(1, pixels))));
    if (seen[2] - seen[0] < 0.001 || seen[3] - seen[1] < 0.001 || fine <= this.dpi) return;
    const box = seen.map((edge) => edge.toFixed(4)), { key } = this;
    const src = server.picture(this.page.of, this.page.doc, this.page.page, `dpi=${fine}&box=${box.join(",")}`);
    const next = new Image();
    next.onload = () => {
      if (this.key !== key) return;
      place(this.sharp, box.map(Number));
      this.sharp.src = src;
      this.sharp.hidden = false;
    };
    next.src = src;
  }

  // ---- places

  // After the stage has another size: what was shown at the passage stays there, if nobody has scrolled it away.
  refit() {
    const { scrollLeft, scrollTop } = this.stage, isThere = this.aimed?.join() === [scrollLeft, scrollTop].join();
    this.fit();
    if (isThere && this.page?.size_pt) this.toPassage();
  }

  toPassage() {
    const [frame] = this.framed;
    if (frame) this.scrollTo({ x0: frame[0], y0: frame[1], x1: frame[2], y1: frame[3] });
    else this.stage.scrollTo(0, 0);
    this.aimed = [this.stage.scrollLeft, this.stage.scrollTop];
  }

  scrollTo({ x0, y0, x1, y1 }) {
    const { offsetWidth: width, offsetHeight: height, offsetTop: top, offsetLeft: left } = this.sheet;
    const room = this.stage.clientHeight - (y1 - y0) * height;
    this.stage.scrollTo(
      Math.max(0, left + ((x0 + x1) / 2) * width - this.stage.clientWidth / 2),
      Math.max(0, top + y0 * height - Math.max(24, Math.min(room / 2, this.stage.clientHeight / 3))),
    );
  }

  hover(event) {
    if (event.pointerType === "touch" || !this.page?.why || this.root.classList.contains("unmarked")) return;
    const box = this.sheet.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
    const mark = this.page.why.marks.find((one) => one.x0 <= x && x <= one.x1 && one.y0 <= y && y <= one.y1);
    this.tip.hidden = !mark;
    if (!mark) return;
    const weak = this.shown?.weak ?? this.found?.find((hit) => hit.page === this.page.page)?.weak;
    this.tip.textContent = `${weak ? "nearest to" : "answers"} “${mark.words.join("”, “")}”`;
    const around = this.root.getBoundingClientRect();
    this.tip.style.left = `${Math.min(event.clientX - around.left + 12, around.width - 180)}px`;
    this.tip.style.top = `${event.clientY - around.top + 18}px`;
  }

  // The pages of this document that answer, as marks on a line.
  async find() {
    const { of, doc, q, by, pages } = this.page, key = JSON.stringify([of, doc, q, by]);
    if (this.stripOf !== key) {
      this.stripOf = key;
      this.found = null;
      if (!q || pages.length < 2) return;
      try {
        const asked = { question: q, k: OF_DOCUMENT, where: { doc } };
        if (by) asked.by = by;
        const { hits } = await server.search(of, asked);
        if (this.stripOf !== key) return;
        this.found = hits;
      } catch (error) {
        if (error.away) this.trouble(error);
        return;
      }
    } else if (!this.found || this.strip.childElementCount === 0) return;
    if (!this.page || this.page.doc !== doc) return;
    const strongest = this.found[0]?.relevance ?? 0, weakest = this.found.at(-1)?.relevance ?? 0, last = pages.at(-1);
    const ticks = this.found.map((hit, number) => {
      const share = strongest > weakest ? (hit.relevance - weakest) / (strongest - weakest) : 1 - number / this.found.length;
      const name = `Page ${hit.page}${hit.relevance === null ? "" : `, ${Math.round(100 * hit.relevance)} of 100`}${hit.weak ? ", weak" : ""}`;
      const tick = make("button", {
        type: "button", title: name, "aria-label": name,
        class: `${hit.page === this.page.page ? "here" : ""} ${hit.weak ? "weak" : ""}`.trim(), tabIndex: number < 5 || hit.page === this.page.page ? 0 : -1,
        onclick: () => this.go(hit.page, { push: true }),
      });
      tick.style.left = `${(100 * (hit.page - 1)) / Math.max(1, last - 1)}%`;
      tick.style.setProperty("--level", (0.25 + 0.75 * share).toFixed(2));
      return tick;
    });
    this.strip.replaceChildren(...ticks.sort((a, b) => parseFloat(a.style.left) - parseFloat(b.style.left)));
  }

  turn(by) {
    if (!this.page) return;
    const { pages, page } = this.page, next = pages[pages.indexOf(page) + by];
    if (next) this.go(next, { push: false });
  }

  lacks() {
    this.drawn.hidden = true;
    if (this.page?.words) this.sheet.classList.add("undrawn"); // its words are there, at their places
    this.trouble(new server.Trouble("The picture of this page cannot be drawn: its file is gone, or has changed since it was indexed. Its text is shown."));
  }

  fullscreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else if (this.root.requestFullscreen) this.root.requestFullscreen();
    else this.root.classList.toggle("filled"); // a phone that lets no page fill the screen
  }
}

// What makes readers of PDFs scroll to the passage, as in Hit.link: Chromium counts `view` in pixels (1/96 inch) from the
// top, and Firefox counts `zoom` in points from the foot. boxes and size are in points.
function view(boxes, size) {
  if (!size) return "";
  const top = Math.max(0, Math.min(...boxes.map((box) => box[1])) - ABOVE);
  return `&view=FitH,${Math.round((top * 4) / 3)}&zoom=auto,0,${Math.round(size[1] - top)}`;
}
