"""Why a page was found: where each query token found its match, as numbers, boxes and a picture.

    why = attribution.explain(query, embedding, render=draw_page)
    why.boxes, why.line, why.image()

Each module imports only modules above it in this list:

    drawing        marks on the picture of a page, legends and tables, in colour
    attribution    which places a score comes from, exactly; it loads `drawing` when a picture is asked for
"""
