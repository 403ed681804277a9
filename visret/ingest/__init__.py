"""Files into an index: find them, read their pages, encode and write them; a failure is reported, and stops nothing.

The process that reads documents loads only a few of these modules, and a search only `options`, `report` and `fetched`.
Each module imports only modules above it in this list:

    options        how files are read
    costs          the time it takes to read and encode pages and files
    ahead          the files that are not read yet, as far as they are known
    forecast       the time that a run will still take
    report         the report of a run: its progress, then what was read, what failed and what is missing
    messages       the requests to a worker process, its answers, and the frames that carry them
    discovery      paths to files, and their names in the index
    fetched        objects on object storage as temporary files
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
    execution      the work of a run, and the executor that does it in this process
    added          the vectors of models that are added to an index, of pages that it has
    parts          the parts of files that other machines read, and what comes of them, put together again
    apart          reading and encoding parts, in a process of another machine
    on_ray         the executor that hands parts to the machines of a Ray cluster
    recorder       carrying out a plan, and writing what comes of its files
    run            add, replace, reindex, add_pages
    differences    the differences between folders and an index, once they have come to rest
    following      an index that follows folders: `visret watch`
    estimate       the time and space that indexing will take, from a sample
    metadata_file  a table of metadata, CSV or JSONL, and the files that its lines belong to
"""
