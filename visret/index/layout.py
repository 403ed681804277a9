"""The format of an index on disk. FORMAT = 3; indexes of format 2 are opened too.

    papers.visret/
      catalogue.sqlite     what changes: an SQLite database, its schema is SCHEMA below
      catalogue.seal       the checksum of catalogue.sqlite
      segments/000001/     what is big: arrays of some pages, one .npy file each, written once and never changed
      fitted/              what was learned from the first pages: .npy files, written once, with the first of them;
                           fitted-2/ and so on: learned again when the index was compacted to another codec
      renditions/000012/   what pages of document 12 are drawn from if they have no file: 3.webp is its page 3,
                           without loss; document.pdf is what LibreOffice made of an office document
      next/                a catalogue and a seal, while `reindex` fills it
      previous-17/         a catalogue and a seal: what the index was before its last `reindex`, after commit 17
      unfinished-2-7.npz   what model 2, an added one, has made of segment 7 so far, if it was interrupted; no more
                           than a help, and deleted when the segment is finished or gone
      uploads/             files that came through a server: sources of documents like any other, but in here
      writer.lock          locked by the process that writes; its content means nothing
      uploads.lock         the same, for the server that changes uploads/

**Catalogue.** `PRAGMA application_id` is 0x76697372 ("visr"), `PRAGMA user_version` the format. It holds tables and
indexes only, no views and no triggers. Rollback journal, synchronous EXTRA, auto_vacuum FULL. `settings` has the keys
`storage`, a JSON object that says what is done with vectors (visret.reduction.Storage), `fitted`, a JSON object, and
`commits`, a counter that every transaction raises by one; for `previous` and `since` see Versions below, for
`lost_from` see Formats. `floors`, a JSON object, may be missing (visret.index.catalogue.Floor); `floor`, which came
before it, is not read. Names are UTF-8; a `source` that is not (a file name in another encoding) is a BLOB of the file
system's bytes. Metadata is a JSON object. Numbers of documents and segments are never used twice.

**A file may hold several documents**: an archive, a PDF with attachments, a mail. Each has a row of its own: `source`
is the file, `member` the place of the document in it ("" for the file itself, "letters/1.pdf" in an archive, and so on
inward), `hash` that of its own bytes; `size` and `mtime_ns` are those of the file.

**A file may be an object** on object storage: `source` is its address (`s3://bucket/papers/a.pdf`), and `mtime_ns` the
second in which it was written, with digits of the SHA-256 of its ETag in place of the nanoseconds.

**What is known to be missing** from a document that was read stands in `lost`.

**Formats.** Every format opens all earlier ones. A catalogue of format 2 has no `member` (all are ""), no `lost` (what
was lost is not known; reading the documents again tells), and `source` alone is unique. Readers leave it as it is; the
first writer makes it one of format 3, in a commit of its own: `lost_from` is the number that its next document gets.
Catalogues beside it follow when they are written to.

**The seal** is written after each commit: a JSON object with the SHA-256 of the whole file (SQLite's own check sees
only its structure), the number of commits, SQLite's count of changes (bytes 24 to 27 of the file), and the CRC-32 of
these three. A crash between a commit and its seal leaves a seal that is behind by as many commits as changes; the next
writer begins by writing it anew. Any other difference is damage.

**A page is in the index when its row in `pages` is committed.** It says in which row of which segment the
page's arrays stand. Rows of a segment that no page names are dead; `segments.live` counts the others. A segment
without live rows is deleted with the transaction that killed the last one, its folder as soon as nobody in the
writer's process reads it. A folder that no catalogue lists in `segments` is a leftover, and the next writer removes it.
A folder's name is made from the segment's number, six digits or more; no file name is ever taken from the catalogue.

**From a model's vector to a stored one**, page by page, by `storage`: the least telling are left out (`prune`), those
that are alike are merged (`pool`), each is projected to fewer dimensions (`dim`) and encoded (`codec`).
What projection and codec learn, they learn from the vectors of the first commit that has any, once and for all:
`fitted` is {} before, and where there is nothing to learn; else it has the keys `number` (of the folder), `vectors`
(how many they were), `step` (of the codec; null without centroids) and `checksums` (SHA-256 of each file in the
folder). The files are durable before the transaction that names them; a folder that no catalogue's `fitted` names is a
leftover of a crash.

    projection     (D, d)    float32, `dim` only: a vector of D dimensions times it, made a unit vector again
    centroids      (K, d)    int8, residual codecs only
    weights        (4,)      int8, or (2,)

**Segments.** P pages, N vectors in all, n vectors of one page, d dimensions. Plain .npy version 1.0, C order,
little-endian, no pickles. A file whose array would be empty is not there, and neither are its offsets. What is stored
of a page, and in which files, is data: FIELDS in visret/index/fields.py. A segment may lack a field, the vectors too:
then `checksums` names none of its files. Code that needs it says what adds it and what that costs.

    vectors        (N, ..)   codes, by the codec (visret/codec.py); pages one after the other
    scales         (N,)      float32 or float16, by the codec
    centroids      (N,)      uint16, residual codecs only: a row of fitted/centroids
    offsets        (P+1,)    int64; page p has the vectors offsets[p] to offsets[p + 1], at least one
    summaries      (S, d)    uint8: a few vectors that stand for each page (visret/reduction.py), codec int8
    summary_scales (S,)      float32
    summary_offsets (P+1,)   int64; as offsets
    means          (M, d)    uint8: the mean of each run of a page's vectors (visret/reduction.py), codec int8
    mean_scales    (M,)      float32
    mean_offsets   (P+1,)    int64; as offsets
    kinds          (P,)      uint8, how places are stored: 0 GRID, 1 CELLS, 2 BOXES, 3 SPANS
    grids          (P, 2)    int32, rows and cols of GRID and CELLS; 0, 0 of the others
    cells          (sum,)    int32, CELLS: rows * cols a page, row by row, the vector of each cell, -1 for none
    boxes          (sum, 4)  float32, BOXES: one a place; x0, y0, x1, y1 in page fractions, NaN for nowhere
    spans          (sum, 2)  int32, SPANS: one a place; first character and the one after the last, -1, -1 for nowhere
    rows           (sum,)    int32, of BOXES and SPANS: the vector that stands for each place
    row_offsets    (P+1,)    int64, places of each page in rows; a page without has n places, one a vector
    made           (sum,)    int32, how many vectors the model made of the page, where some were pruned or pooled
    made_offsets   (P+1,)    int64, 0 or 1 of each page in made
    text           (sum,)    uint8, the pages' texts in UTF-8
    text_offsets   (P+1,)    int64, bytes of each page in text
    word_boxes     (sum, 4)  float32, boxes of the words of the text, split at white space
    word_offsets   (P+1,)    int64, words of each page in word_boxes; a page may have none
    line_edges     (sum, 3)  int8, for each line of the text, and behind the last: the log odds that a passage begins
                             there, and that one ends, in sixteenths; 1 if the line is of a figure, a table, a listing
                             or a caption (visret/explain/layout.py)
    line_edge_offsets (P+1,) int64, lines of each page in line_edges; a page without has none, and its edges are found
                             when needed, as are those that earlier versions stored in a file named edges
    lengths        (P,)      uint32, terms of each page (visret/index/terms.py), each as often as it is there
    terms          (sum,)    uint8, the T distinct terms of all pages in UTF-8, sorted by these bytes
    term_offsets   (T+1,)    int64, bytes of each term in terms
    posting_offsets (T+1,)   int64, entries of each term in gaps and counts, at least one
    gaps           (E,)      uint16; a term's first entry has the row of its page plus one, each other one the distance
                             from the row before
    counts         (E,)      uint8, how often the term is on the page

**Added models.** `models` has the model of the index first. Each further row is a model that was added to it, and has
the key `kind` in `preprocessing`: "dense" for single vectors, "sparse" for sparse ones; at most one of each. What such
a model, number N, makes of a segment's pages stands in the segment's folder too, in files that are written later than
the others, in a commit that sets `checksums` and `bytes` anew. A segment has them for all its pages or for none; pages
with nothing to read have no rows in them. Files of this kind that `checksums` does not name are leftovers, and the next
writer removes them.

    dense_N        (M, D)    uint8: a row for each part of a page that the model reads at once, codec int8
    dense_N_scales (M,)      float32
    dense_N_offsets (P+1,)   int64; page p has the rows dense_N_offsets[p] to dense_N_offsets[p + 1], perhaps none
    sparse_N_lengths (P,)    uint32, dimensions of each page
    sparse_N_ids   (T,)      uint32, the dimensions that any page has, rising
    sparse_N_offsets (T+1,)  int64, entries of each dimension in the next two, at least one
    sparse_N_rows  (E,)      uint32, the rows of the pages that have it, rising
    sparse_N_weights (E,)    float32, how much of it each has

The lengths and the entries of pages are those of dead rows too: whoever counts pages leaves these out. A gap above
65,535 is crossed by entries with the gap 65,535 and the count 0, and a count above 255 goes on in entries with the
gap 0. Should visret/index/terms.py ever make other terms, `lengths` gets another name, so that segments
made before lack the field.

`cells`, `boxes` and `spans` hold the pages of their own kind only, in order. GRID means that vector r * cols + c is
the patch of cell (r, c), and that vectors beyond rows * cols lie nowhere. `segments.checksums` is a JSON object, the
SHA-256 of every file in the folder.

**Many small segments become one**, in a segment of its own and a transaction of its own. The size of a segment is that
of its live rows. Sizes below 8 MiB are of tier 0, below 64 MiB of tier 1, below 256 MiB of tier 2; when a commit leaves
eight segments of one tier, these are merged. So a vector is rewritten three times at most, and beside segments of 256
MiB and more there are never more than 21. Codes, summaries, means, places and terms are copied as they are.

**Versions.** `reindex` makes a second catalogue, next/catalogue.sqlite, for the new model, and fills it like any other:
its segments, what it learns, and its pictures stand in the same folders, under numbers that no other catalogue has. It
begins with all documents, as `partial`, with their numbers and metadata; `since` is the commit of the current catalogue
that it took them from. Metadata belongs to a document, not to a version: whatever becomes the current catalogue takes
it along. When next/ is full, the current catalogue is copied to previous-N/, where N is its `commits`. Then its whole
content is replaced by next's, in one SQLite transaction, with `commits` N + 1 and `previous` N. So only
catalogue.sqlite says which version is the current one, and no file that may be open is renamed. Going back does the
same with the previous version, and the one that was current becomes the previous. A next/ whose `since` is not above
`previous` has already become the current one. It is a leftover, and so is a previous-N/ that `previous` does not name.
`compact` deletes next/ and previous-N/.
"""

from __future__ import annotations

from pathlib import Path

FORMAT = 3
READABLE = (2, 3)
APPLICATION_ID = 0x76697372

CATALOGUE = "catalogue.sqlite"
SEAL = "catalogue.seal"
SEGMENTS = "segments"
FITTED = "fitted"
RENDITIONS = "renditions"
NEXT = "next"
PREVIOUS = "previous"
UPLOADS = "uploads"
UNFINISHED = "unfinished"
LOCK = "writer.lock"
UPLOADS_LOCK = "uploads.lock"

GRID, CELLS, BOXES, SPANS = range(4)

STATES = ("done", "partial", "failed", "empty")

# Largest number of a document or page (readers sort pages by document << 32 | page), and most cells of a page.
MAX_NUMBER = (1 << 31) - 1

# When small segments are merged; see above.
MERGED = 8
TIERS = 8 << 20, 64 << 20, 256 << 20

SCHEMA = """
CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value NOT NULL
);
CREATE TABLE models (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    identity TEXT NOT NULL,             -- revision, or SHA-256 of configuration and weights
    dim INTEGER NOT NULL,
    modality TEXT NOT NULL,             -- text | image
    preprocessing TEXT NOT NULL         -- JSON object: what else decides the vectors
);
CREATE TABLE segments (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    model INTEGER NOT NULL REFERENCES models (number),
    pages INTEGER NOT NULL,
    live INTEGER NOT NULL,
    vectors INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    checksums TEXT NOT NULL             -- JSON object: file name to SHA-256
);
CREATE TABLE documents (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    doc TEXT NOT NULL UNIQUE,
    source,                             -- absolute path, or address; NULL for pages made in memory
    hash TEXT,
    size INTEGER,
    mtime_ns INTEGER,
    state TEXT NOT NULL,                -- done | partial | failed | empty
    reason TEXT,
    metadata TEXT NOT NULL,             -- JSON object
    expected INTEGER,                   -- pages in the document, where known
    member TEXT NOT NULL DEFAULT '',    -- its place in the file; '' for the file itself
    UNIQUE (source, member)
);
CREATE TABLE pages (
    id INTEGER PRIMARY KEY,
    document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
    page INTEGER NOT NULL,              -- from 1
    width_pt REAL,                      -- NULL for plain text
    height_pt REAL,
    segment INTEGER NOT NULL REFERENCES segments (number),
    row INTEGER NOT NULL,               -- from 0
    metadata TEXT,                      -- JSON object or NULL; its keys win over the document's
    UNIQUE (document, page),
    UNIQUE (segment, row)
);
CREATE TABLE unread_pages (             -- pages without vectors
    document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
    page INTEGER NOT NULL,
    reason TEXT,                        -- NULL: nothing on it that the model reads; otherwise why it failed
    blank INTEGER NOT NULL,             -- 1: nothing that OCR reads either; 0: OCR has not looked
    PRIMARY KEY (document, page)
) WITHOUT ROWID;
CREATE TABLE lost (                     -- content that is known to be missing
    document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
    page INTEGER NOT NULL,              -- 0: of the document
    what TEXT NOT NULL,
    help TEXT NOT NULL,                 -- what would bring it
    PRIMARY KEY (document, page, what)
) WITHOUT ROWID;
CREATE TABLE renditions (               -- the files in renditions/
    document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
    page INTEGER NOT NULL,              -- 0: document.pdf
    checksum TEXT NOT NULL,             -- SHA-256
    PRIMARY KEY (document, page)
) WITHOUT ROWID;
CREATE TABLE metadata_keys (            -- every key ever written, so that a filter on an unknown one is refused
    key TEXT PRIMARY KEY
) WITHOUT ROWID;
"""


def segment_folder(index: Path, number: int) -> Path:
    """Return the folder of segment `number` (from 1)."""
    return index / SEGMENTS / f"{number:06d}"


def unfinished_file(index: Path, model: int, segment: int) -> Path:
    """Return the file that keeps what an added model has made of a segment so far, if it was interrupted."""
    return index / f"{UNFINISHED}-{model}-{segment}.npz"


def fitted_folder(index: Path, number: int) -> Path:
    """Return the folder of what was learned for the `number`-th time (from 1)."""
    return index / (FITTED if number == 1 else f"{FITTED}-{number}")


def previous_folder(index: Path, commits: int) -> Path:
    """Return the folder of the catalogue as it was after so many commits, when a reindex took its place."""
    return index / f"{PREVIOUS}-{commits}"
