// What is seen, as the address of the page: one object, read from it and written to it. So Back and a copied link work.

const EMPTY = {
  q: "", // the question
  doc: [], // search only in these documents
  not: [], // and not in these
  where: "", // a filter on metadata, as JSON
  by: "", // the way of ranking; "" is the usual one
  rerank: "", // the model that reads the first pages again
  beside: "", // a second way, shown beside the first
  group_by: "", // "document": each document once
  weak: "", // "false": without weak pages
  in: "", // "index" or "mine": search only there; "" is both
  show: "", page: "", of: "", // the page that is shown; of: "mine" if it is one of the visitor's own
  show2: "", page2: "", of2: "", // and the one beside it
  at: "", // a place on it that an answer cites: x0,y0,x1,y1 in page fractions
  answer: "", // "yes": the language model writes an answer
  then: [], // questions that go on from it, each answered with the earlier ones in mind
  n: "", // how many hits are listed, if more than the first ones
  z: "", // its zoom in per cent; "page": all of it; "" fits the width, or on a phone the passage
  marks: "", // "off": the page as it is
};

export function read(search = location.search) {
  const given = new URLSearchParams(search), state = { ...EMPTY };
  for (const name of Object.keys(EMPTY)) {
    if (Array.isArray(EMPTY[name])) state[name] = given.getAll(name);
    else if (given.has(name)) state[name] = given.get(name);
  }
  return state;
}

export function address(state) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    for (const one of Array.isArray(value) ? value : value ? [value] : []) given.append(name, one);
  }
  const text = given.toString();
  return text ? `?${text}` : location.pathname;
}

// The parts of a state that decide what is found.
export function terms(state) {
  const { q, doc, not, where, by, rerank, group_by, weak } = state;
  return { q: q.trim(), doc, not, where, by, rerank, group_by, weak, in: state.in };
}

// Without the pages that are shown; and without what belongs to the hits of one question too.
export const closed = (state) => ({ ...state, show: "", page: "", of: "", show2: "", page2: "", of2: "", at: "" });
export const without = (state) => ({ ...closed(state), n: "", then: [] });
