// The server's HTTP API, as far as the page asks it.

export class Trouble extends Error {
  constructor(message, { away = false, status } = {}) {
    super(message);
    this.away = away; // the server does not answer at all
    this.status = status;
  }
}

const AWAY = "The server does not answer. Your question is kept; it is asked again as soon as the server is back.";

async function answer(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble(AWAY, { away: true });
  }
  if ([502, 504].includes(response.status)) throw new Trouble(AWAY, { away: true });
  const said = response.status === 204 ? {} : await response.json().catch(() => ({}));
  if (response.ok) return said;
  throw new Trouble(sentence(response.status, said, response.headers.get("retry-after")));
}

function sentence(status, said, wait) {
  if (status === 401) return "This server asks for its key. Load the page again to give it.";
  if (status === 429) return `Too many requests; try again in ${wait ?? "some"} seconds.`;
  const detail = said.detail;
  if (Array.isArray(detail)) return detail.map((one) => one.msg).join("; ");
  return detail ? `${detail[0].toUpperCase()}${detail.slice(1)}${/[.?!]$/.test(detail) ? "" : "."}` : `The server failed (${status}).`;
}

export const base = (of) => (of === "mine" ? "mine/" : "");
const named = (doc) => doc.split("/").map(encodeURIComponent).join("/");
export const picture = (of, doc, page, rest) => `${base(of)}page/${named(doc)}/${page}.png?${rest}`;
export const file = (of, doc, page, link) => `${base(of)}document/${named(doc)}${link ?? `#page=${page}`}`;

export const start = () => answer("start");
export const mine = () => answer("mine/state");
export async function documents(of) {
  const listed = [];
  for (let total = 1; listed.length < total;) {
    const said = await answer(`${base(of)}documents?start=${listed.length}`);
    listed.push(...said.documents);
    total = said.documents.length ? said.total : 0;
  }
  return listed;
}
export const unread = () => answer("unread?count=1000").then((said) => said.unread);
export const suggestions = (of) => answer(`${base(of)}suggestions`).then((said) => said.suggestions);
export const text = (of, doc, page) => answer(`${base(of)}text/${named(doc)}/${page}.json`);
export const explanation = (of, doc, page, q, by) =>
  answer(`${base(of)}explanation/${named(doc)}/${page}.json?${new URLSearchParams(by === "bm25" ? { q, by } : { q })}`);
export const search = (of, asked, signal) =>
  answer(`${base(of)}search`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(asked),
    signal,
  });
// Asks the language model. told: is given each event of the answer, by name.
export async function written(asked, told, signal) {
  let response;
  try {
    response = await fetch("answer", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(asked), signal,
    });
    if (!response.ok) throw new Trouble(sentence(response.status, await response.json().catch(() => ({})), response.headers.get("retry-after")));
    let waiting = "";
    for await (const piece of pieces(response.body.pipeThrough(new TextDecoderStream()))) {
      const events = (waiting + piece).split("\n\n");
      waiting = events.pop();
      for (const event of events) {
        const [name, data] = event.split("\n");
        told(name.slice("event: ".length), JSON.parse(data.slice("data: ".length)));
      }
    }
  } catch (error) {
    if (error instanceof Trouble || error.name === "AbortError") throw error;
    throw new Trouble(AWAY, { away: true });
  }
}

async function* pieces(stream) { // not every browser can iterate a stream
  const reader = stream.getReader();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) yield value;
}

export const remove = (doc) => answer(`mine/documents/${named(doc)}`, { method: "DELETE" });
export const forget = () => answer("mine/", { method: "DELETE" });

// Sends files; sent: is told the share that is on its way. Returns the report, also if no file could be read.
export function upload(files, sent) {
  return new Promise((resolve, reject) => {
    const form = new FormData(), request = new XMLHttpRequest();
    for (const one of files) form.append("files", one, one.name);
    request.open("POST", "mine/documents");
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && sent(event.loaded / event.total);
    request.onerror = () => reject(new Trouble("The server does not answer. The files are not there yet.", { away: true }));
    request.onload = () => {
      const said = request.response ?? {};
      if (said.files) resolve(said);
      else reject(new Trouble(sentence(request.status, said, request.getResponseHeader("retry-after")), { status: request.status }));
    };
    request.send(form);
  });
}
