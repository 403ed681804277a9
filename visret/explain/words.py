"""The words of a question, put together from the tokens of a model, and which words tell what is asked.

    words_of("plot a histogram", ("plot", "a", "his", "to", "gram"), content)
    # plot (0,), a (1,) which tells nothing, histogram (2, 3, 4)

Function words and punctuation match something on every page, and well; where a picture marks them, they hide the words
that answer. They count in the score as all tokens do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_LISTS = """
a about above after again all also am an and any are as at be because been before being below between both but by can
could did do does doing down during each few for from further had has have having he her here hers him his how i if in
into is it its itself just many may me might more most much must my no nor not now of off on once only or other our out
over own per same shall she should so some such than that the their them then there these they this those through to
too under until up upon us use used using very via was we were what when where whether which while who whom whose why
will with within without would you your
aber als am an auch auf aus bei beim bin bis da damit dann das dass dem den denn der des die dies diese dieser dieses
doch du durch ein eine einem einen einer eines er es für gegen hat haben hier ich ihr im in ist ja kann kein keine man
mehr mit nach nicht noch nur ob oder ohne sein sich sie sind so über um und uns unter vom von vor war was welche welcher
welches wenn wer werden wie wir wird wo zu zum zur
à au aux avec ce ces cette comme comment dans de des du elle en est et eu il ils je la le les leur lui mais ne nous où
ou par pas pour pourquoi quand que quel quelle quels qui sa sans se ses si son sont sur un une vous
al como con cual cuando cuál cuándo de del desde donde dónde e el ella en entre era es esta este esto fue ha hay la las
le lo los más me muy no nos o para pero por porque que qué quien quién se según ser si sin sobre son su sus también un
una uno y ya
ai al alla anche che chi ci come con cosa da dal dalla dei del della delle di dove e è gli ha i il in io la le lo loro
ma nel nella non o per perché più quale quali quando questo se si sono su sul sulla tra un una uno
ao aos as até com como da das de do dos e é ela ele em entre era esta este foi há isso mais mas na não nas no nos o os
ou para pela pelo por qual quando que quem se sem ser seu sua também um uma
aan als bij dan dat de deze die dit door een en er haar het hij hoe hun ik in is je kan maar met na naar niet nog of om
onder ook op over te tot uit van voor waar wanneer wat welke werd wie wij zal ze zich zij zijn zo
"""
FUNCTION_WORDS = frozenset(_LISTS.split())
"""Articles, prepositions, pronouns, conjunctions, auxiliary verbs and question words of seven European languages."""

_FIGURES = """
chart charts curve curves diagram diagrams drawing drawings figure figures graph graphs illustration illustrations image
images map maps photo photos photograph photographs picture pictures plot plots scheme schemes screenshot screenshots
sketch sketches table tables
abbildung abbildungen bild bilder diagramm diagramme foto fotos graphik grafik karte kurve kurven schaubild schema
skizze tabelle tabellen zeichnung zeichnungen
carte cartes courbe courbes croquis dessin dessins diagramme diagrammes graphique graphiques schéma schémas tableau
tableaux
curva curvas diagrama diagramas dibujo dibujos esquema esquemas figura figuras gráfica gráfico gráficos imagen imágenes
mapa mapas tabla tablas
disegno disegni figure grafico grafici immagine immagini mappa schemi tabella tabelle
desenho desenhos imagem imagens tabela tabelas
afbeelding afbeeldingen diagrammen figuur figuren grafiek grafieken kaart tabellen tekening tekeningen
"""
FIGURE_WORDS = frozenset(_FIGURES.split())
"""What figures and tables are called in seven European languages."""

_CHUNK = re.compile(r"\S+")
_EDGES = re.compile(r"^\W*|\W*$")


class AskedWord(NamedTuple):
    """A word of a question. tokens: their positions. tells: whether it says what is asked."""

    text: str
    tokens: tuple[int, ...]
    tells: bool


def tells(word: str) -> bool:
    """Return whether a word is neither a function word nor punctuation; "DEM" in capitals is an abbreviation."""
    bare = _EDGES.sub("", word)
    return bool(bare) and (bare.casefold() not in FUNCTION_WORDS or (len(bare) > 1 and bare.isupper()))


def names_figure(question: str) -> bool:
    """Return whether a question names a figure or a table, as "plot of the costs" does."""
    return not FIGURE_WORDS.isdisjoint(re.findall(r"\w+", question.casefold()))


def words_of(question: str, tokens: Sequence[str], content: np.ndarray) -> tuple[AskedWord, ...]:
    """Return the words of a question in order. tokens, content: as in QueryEmbedding; markers are in no word.

    A token that is not found in the question, such as one that a model rewrites, is a word of its own.
    """
    bounds = [_bare(chunk) for chunk in _CHUNK.finditer(question)]
    folded = question.lower()
    held: dict[int, list[int]] = {}
    alone: dict[int, str] = {}
    at = 0
    for position in np.flatnonzero(content).tolist():
        label = tokens[position].lower()
        piece = label.removeprefix("##").strip("▁Ġ ") or label
        start = folded.find(piece, at)
        if start < 0:
            alone[position] = tokens[position]
            continue
        at = start + len(piece)
        word = next((n for n, (first, end) in enumerate(bounds) if first <= start < end), None)
        if word is None:
            alone[position] = question[start:at]
        else:
            held.setdefault(word, []).append(position)
    found = [AskedWord(question[slice(*bounds[n])], tuple(own), False) for n, own in held.items()]
    found += [AskedWord(text, (position,), False) for position, text in alone.items()]
    return tuple(word._replace(tells=tells(word.text)) for word in sorted(found, key=lambda word: word.tokens[0]))


def _bare(chunk: re.Match[str]) -> tuple[int, int]:
    """Return where a word begins and ends, without the punctuation around it."""
    start, end = chunk.span()
    text = chunk[0]
    inside = text.strip("".join(c for c in set(text) if not c.isalnum()))
    first = text.find(inside) if inside else 0
    return (start + first, start + first + len(inside)) if inside else (start, end)
