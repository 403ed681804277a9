"""A small manual: pages of prose under headings, numbered i, ii, 1, 2 ... as printed."""

from pathlib import Path

from reportlab.lib.pagesizes import A5
from reportlab.pdfgen.canvas import Canvas

CHAPTERS = {
    "Keeping bees over winter": "A colony needs twenty kilograms of honey to live until spring. Wrap it against wind.",
    "Feeding the colony": "Mix two parts of sugar with one part of water. Pour the syrup into the feeder at dusk.",
    "Moving a hive by night": "Close the entrance when all foragers are home. Carry the hive level, without a jolt.",
    "Treating varroa mites": "Acid vapour kills the parasite on grown bees. Repeat it three times, a week apart.",
    "Harvesting honey from frames": "Uncap the cells with a warm knife. Spin the frames slowly, or the wax breaks.",
    "Raising a new queen": "Graft larvae of one day into cups. Strong nurses feed them royal jelly.",
}
FRONT = 2  # pages that are numbered in Roman


def write_manual(path: Path, chapters=CHAPTERS) -> Path:
    """Write the manual as a PDF: a page for each chapter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = Canvas(str(path), pagesize=A5)
    canvas.addPageLabel(0, style="ROMAN_LOWER")
    canvas.addPageLabel(FRONT, style="ARABIC")
    for heading, prose in chapters.items():
        canvas.setFont("Helvetica-Bold", 18)
        canvas.drawString(40, 540, heading)
        canvas.setFont("Helvetica", 10)
        for number, sentence in enumerate(prose.split(". ")):
            canvas.drawString(40, 500 - 14 * number, f"{sentence.rstrip('.')}.")
        for number in range(20):  # what is of no use to anybody, to fill the page
            canvas.drawString(40, 420 - 14 * number, "Notes are kept in a log with the date and the weather.")
        canvas.showPage()
    canvas.save()
    return path
