// Small parts of pages. Text always becomes text: nothing here makes HTML of what a file or a person says.

export function make(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const PHONE = matchMedia("(max-width: 800px)"); // as in page.css

export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
export const title = (doc) => doc.slice(doc.lastIndexOf("/") + 1) || doc;
// Where a document lies: the end of it, which tells files of one name apart.
export const folder = (doc) => {
  const parts = doc.split("/").slice(0, -1);
  return parts.length > 2 ? `… ${parts.slice(-2).join("/")}` : parts.join("/");
};

// The boxes around lines that follow each other down the page: one for each column of a passage.
export function frames(boxes) {
  const found = [], share = (a, b, c, d) => a < d && c < b;
  for (const [x0, y0, x1, y1] of boxes) {
    const last = found.at(-1);
    if (last && y1 > last[1] && (share(x0, x1, last[0], last[2]) || y0 < last[3])) {
      found[found.length - 1] = [Math.min(last[0], x0), Math.min(last[1], y0), Math.max(last[2], x1), Math.max(last[3], y1)];
    } else found.push([x0, y0, x1, y1]);
  }
  return found;
}

// A frame with some room within it, which goes through no word; as visret/explain/drawing.py does it.
export function withRoom([x0, y0, x1, y1], words) {
  const half = (gaps, most) => Math.min(most, ...gaps.map((gap) => gap / 2)), middle = ([, top, , bottom]) => (top + bottom) / 2;
  const level = words.filter((box) => middle(box) >= y0 && middle(box) <= y1);
  for (let one; (one = level.find(([left, , right]) => left < x1 && right > x1));) x1 = one[2];
  for (let one; (one = level.find(([left, , right]) => left < x0 && right > x0));) x0 = one[0];
  const over = words.filter(([left, , right]) => left < x1 && right > x0);
  const high = Math.max(0, y0 - half(over.filter((box) => middle(box) < y0).map((box) => y0 - box[3]), 0.005));
  const low = Math.min(1, y1 + half(over.filter((box) => middle(box) > y1).map((box) => box[1] - y1), 0.005));
  const beside = words.filter(([, top, , bottom]) => top < low && bottom > high);
  return [
    Math.max(0, x0 - half(beside.filter((box) => box[2] <= x0).map((box) => x0 - box[2]), 0.01)), high,
    Math.min(1, x1 + half(beside.filter((box) => box[0] >= x1).map((box) => box[0] - x1), 0.01)), low,
  ];
}

export function place(element, [x0, y0, x1, y1]) {
  element.style.left = `${100 * x0}%`;
  element.style.top = `${100 * y0}%`;
  element.style.width = `${100 * (x1 - x0)}%`;
  element.style.height = `${100 * (y1 - y0)}%`;
  return element;
}

// The text with its spans marked, as nodes; from `start` on, `most` characters at most.
export function marked(text, spans, start = 0, most = Infinity) {
  const end = Math.min(text.length, start + most), nodes = start ? ["… "] : [];
  let at = start;
  for (const [first, last] of spans) {
    if (first < at || last > end) continue;
    nodes.push(text.slice(at, first), make("mark", {}, text.slice(first, last)));
    at = last;
  }
  nodes.push(text.slice(at, end), ...(end < text.length ? [" …"] : []));
  return nodes;
}

// Where to begin a quotation, of which about `seen` characters are seen: where most marks are, at the line before them.
export function opening(text, spans, seen) {
  const near = (start) => spans.filter(([first, end]) => first >= start && end <= start + seen);
  const group = spans.map(([first]) => near(first)).reduce((most, one) => (one.length > most.length ? one : most), []);
  if (near(0).length >= group.length) return 0;
  const first = group[0][0], end = group.at(-1)[1], line = text.lastIndexOf("\n", first) + 1;
  const before = line ? text.lastIndexOf("\n", line - 2) + 1 : 0;
  for (const start of [before, line]) if (end - start <= seen) return start;
  return Math.min(first, text.indexOf(" ", first - Math.min(60, seen - (end - first))) + 1); // of a long line, some words
}

// Joins what follows each other closely: at most one call in `wait` milliseconds, the last one.
export function settled(wait, work) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), wait);
  };
}
