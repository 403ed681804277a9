"""The explanation of a score: where each query token found its match, as numbers, boxes and a picture.

    explanation = attribution.explain(query, embedding, render=draw_page)
    explanation.boxes, explanation.line, explanation.image()

Each module imports only modules above it in this list:

    drawing        marks on the picture of a page, legends and tables, in colour
    words          the words of a question, and which of them tell what is asked
    layout         the lines of a page, and where passages may begin and end
    passages       the lines, or the region of a picture, that answer best
    attribution    the places that a score comes from, exactly; it loads `drawing` when a picture is asked for
"""
