"""Files into an index: find them, read their pages, encode, write; what fails is reported, and stops nothing.

The process that reads documents loads only a few of these modules, and who searches only `options` and `report`. Each
module imports only modules above it in this list:

    options        how files are read
    costs          what pages and files cost to be read and encoded
    ahead          what is known of the files that are not read yet
    forecast       how long a run will still take
    report         what a run says: how far it is, what was read, what failed, what is missing
    discovery      paths to files, and their names in the index
    messages       what a worker process is asked and answers, and the frames that carry it
    process        the worker process as its parent sees it: started, watched, ended
    pages          how a worker opens a file and reads a page
    worker         what that process does: python -m visret.ingest.worker
    scout          looks into files that a run has not come to
    progress       tells how far a run is, and the forecast what happens
    tasks          what has to be read, and what comes of it
    plan           which documents are read, left, renamed and removed; it writes nothing
    reader         reads files in worker processes ahead of the encoder
    stored         pages that the index has: those made in memory, and files drawn again
    encoding       pages to vectors, in batches
    recorder       carries a plan out, and writes what comes of its files
    run            add, replace, reindex, add_pages
    estimate       what indexing will take, from a sample
    metadata_file  a table of metadata, CSV or JSONL: which line is of which file
"""
