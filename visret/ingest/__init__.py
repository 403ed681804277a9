"""Files into an index: find them, read their pages, encode and write them; a failure is reported, and stops nothing.

The process that reads documents loads only a few of these modules, and a search only `options` and `report`. Each
module imports only modules above it in this list:

    options        how files are read
    costs          the time it takes to read and encode pages and files
    ahead          the files that are not read yet, as far as they are known
    forecast       the time that a run will still take
    report         the report of a run: its progress, then what was read, what failed and what is missing
    discovery      paths to files, and their names in the index
    messages       the requests to a worker process, its answers, and the frames that carry them
    process        the worker process as its parent sees it: started, watched, ended
    pages          opening a file and reading a page, in a worker
    worker         the process itself: python -m visret.ingest.worker
    scout          a look into files that a run has not reached yet
    progress       the progress of a run, told to the caller and to the forecast
    tasks          the files to be read, and the answers that come of them
    plan           the decision which documents are read, left, renamed and removed; it writes nothing
    reader         reading files in worker processes, ahead of the encoder
    stored         pages that the index has, made in memory or drawn again from their files
    made           pages made in memory: those handed to a run, and those that the index keeps
    encoding       pages to vectors, in batches
    added          the vectors of models that are added to an index, of pages that it has
    recorder       carrying out a plan, and writing what comes of its files
    run            add, replace, reindex, add_pages
    estimate       the time and space that indexing will take, from a sample
    metadata_file  a table of metadata, CSV or JSONL, and the files that its lines belong to
"""
