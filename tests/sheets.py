"""Small PDFs of plain colours."""

from pathlib import Path

from PIL import Image


def write_pdf(path: Path, *colours: str) -> Path:
    """A PDF with a page of each colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheets = [Image.new("RGB", (64, 96), "lime" if colour == "green" else colour) for colour in colours]
    sheets[0].save(path, save_all=True, append_images=sheets[1:])
    return path
