"""The explanation of a score: where each query token found its match, as numbers, boxes and a picture.

    explanation = explain(query, embedding, render=draw_page)
    explanation.boxes, explanation.line, explanation.image()

Importing this package costs nothing, because its names are loaded when they are asked for. Each module imports only
modules above it in this list:

    drawing        marks on the picture of a page, legends and tables, in colour
    attribution    the places that a score comes from, exactly; it loads `drawing` when a picture is asked for
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visret.explain.attribution import Explanation as Explanation
    from visret.explain.attribution import Mode as Mode
    from visret.explain.attribution import Region as Region
    from visret.explain.attribution import Span as Span
    from visret.explain.attribution import Table as Table
    from visret.explain.attribution import best_line as best_line
    from visret.explain.attribution import explain as explain
    from visret.explain.attribution import shares as shares
    from visret.explain.drawing import Legend as Legend
    from visret.explain.drawing import overlay as overlay

_HOMES = {
    "visret.explain.attribution": ("Explanation", "Mode", "Region", "Span", "Table", "best_line", "explain", "shares"),
    "visret.explain.drawing": ("Legend", "overlay"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
