"""The researcher's view in a real browser: Debian's chromium, which playwright drives."""

import io

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from support.samples import FOLDER
from support.sheets import write_pdf
from support.tiny_vision import CHECKPOINTS

from visret import Retriever
from visret.encoders import _torch

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
QUESTION = "the tiger sleeps in a cathedral"
# Of each page: width and height before its rotation, rotation, and where its words begin, in points from bottom left.
PAGES = [
    ((420, 594), 0, {"tiger": (60, 500), "cathedral": (200, 120)}),
    ((420, 594), 90, {"tiger": (200, 420), "cathedral": (70, 80)}),
    ((594, 420), 0, {"tiger": (400, 60), "cathedral": (80, 350)}),
]
SIZE = 24


@pytest.fixture(scope="module")
def desktop(chromium):
    """What the tabs of one visitor share, such as the files of the page."""
    return chromium.new_context(viewport=DESKTOP)


@pytest.fixture
def visit(chromium, desktop):
    """visit(address): the page in a tab; nothing it asks for may come from elsewhere."""
    tabs, asked, origins = [], [], []

    def open_tab(address, **how):
        tabs.append((chromium.new_context(**how) if how else desktop).new_page())
        tab = tabs[-1]
        tab.set_default_timeout(60_000)
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("websocket", lambda socket: asked.append(socket.url))
        origins.append(address.split("?")[0])
        tab.goto(address)
        expect(tab.get_by_label("Question", exact=True)).to_be_visible()
        return tab

    yield open_tab
    for tab in tabs:
        tab.close()
    assert len(asked) > 5
    assert [url for url in asked if not url.startswith((*origins, "data:", "blob:"))] == []


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """The sample report as colours."""
    folder = tmp_path_factory.mktemp("samples")
    with Retriever.create(folder / "i.visret", model="toy") as retriever:
        retriever.add(FOLDER / "report.pdf")
        retriever.add(write_pdf(folder / "red.pdf", "red"), metadata={"year": 2024})
    return folder / "i.visret"


@pytest.fixture(scope="module")
def url(serve, index):
    return serve(index) + "lab/"


def write_words(path):
    """The PDF of PAGES; for each of them the boxes of its words in fractions of the page as it is displayed."""
    canvas, boxes = Canvas(str(path)), []
    for (width, height), turn, words in PAGES:
        canvas.setPageSize((height, width) if turn else (width, height))  # as it is displayed
        canvas.setPageRotation(turn)
        canvas.setFont("Helvetica", SIZE)
        canvas.drawString(150, 250, "filler")
        found = {}
        for word, (x, y) in words.items():
            canvas.drawString(x, y, word)
            x0, x1 = x / width, (x + stringWidth(word, "Helvetica", SIZE)) / width
            y0, y1 = 1 - (y + 0.93 * SIZE) / height, 1 - (y - 0.22 * SIZE) / height
            found[word] = (1 - y1, x0, 1 - y0, x1) if turn else (x0, y0, x1, y1)
        boxes.append(found)
        canvas.showPage()
    canvas.save()
    return boxes


def ask(tab, question):
    tab.get_by_label("Question", exact=True).fill(question)
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("button", name="Ask", exact=True)).to_be_enabled()


def upload(tab, path, said):
    tab.locator("input[type=file]").set_input_files(path)
    expect(tab.get_by_text(said)).to_be_visible()


def picture(tab):
    """What is seen of the page, (height, width, 3), without what hovers over it."""
    tab.mouse.move(0, 0)
    tab.locator("#page img").evaluate("image => image.decode()")
    seen = tab.locator("#page img").screenshot(style="#page .icon-button-wrapper { display: none }")
    return np.asarray(Image.open(io.BytesIO(seen)).convert("RGB")).astype(int)


def redrawn(tab, act):
    """The picture after an act that has the server draw it again."""
    before = tab.locator("#page img").get_attribute("src")
    act()
    expect(tab.locator("#page img")).not_to_have_attribute("src", before)
    return picture(tab)


def switch(tab, token):
    return lambda: tab.locator("#tokens").get_by_label(token, exact=True).first.click()


def differ(before, after):
    """(height, width) bool: where pixels do, by more than a browser's scaling makes them."""
    return (np.abs(before - after) > 8).any(axis=2)


def changed_inside_only(before, after, box, *, margin=4):
    """Whether pixels differ in the box, in fractions of the page, and nowhere else but `margin` pixels round it."""
    changed = differ(before, after)
    height, width = changed.shape
    x0, y0, x1, y1 = np.array(box) * [width, height, width, height]
    inside = changed[round(y0) : round(y1), round(x0) : round(x1)].mean()
    changed[max(0, int(y0) - margin) : int(y1) + margin + 1, max(0, int(x0) - margin) : int(x1) + margin + 1] = False
    return inside > 0.5 and not changed.any()


def test_a_token_is_switched_off_where_its_word_stands(serve, visit, tmp_path):
    """Bring a PDF, ask, click each hit: upright, rotated, landscape; its marks lie on the words."""
    boxes = write_words(tmp_path / "words.pdf")
    tab = visit(serve(model="all-minilm-l6-v2") + "lab/")
    upload(tab, tmp_path / "words.pdf", "3 pages of 1 document can be searched.")
    ask(tab, QUESTION)
    for number, ((width, height), turn, _) in enumerate(PAGES):
        tab.locator(".found .thumbnail-item", has_text=f"words.pdf, p. {number + 1} (").click()
        expect(tab.locator("#quoted")).to_contain_text(f"words.pdf, page {number + 1}")
        shown = picture(tab)
        assert (shown.shape[0] > shown.shape[1]) == (height > width and not turn)
        for word in ("tiger", "cathedral"):
            without = redrawn(tab, switch(tab, word))
            assert changed_inside_only(shown, without, boxes[number][word]), (number, word)
            assert not differ(redrawn(tab, switch(tab, word)), shown).any()


@pytest.mark.long
def test_a_token_is_switched_off_in_its_patch(serve, visit, tmp_path):
    """A tiny ColQwen2: the patch is the one that its explanation names."""
    with _torch.quiet():
        folder = CHECKPOINTS["ColQwen2"](tmp_path / "model", max_patches=60)
    write_words(tmp_path / "words.pdf")
    with Retriever.create(tmp_path / "i.visret", model=str(folder)) as retriever:
        retriever.add(tmp_path / "words.pdf")
        hit = retriever.search("red circle", k=1)[0]
        why = retriever.heatmap("red circle", hit)
    (number,) = (i for i, token in enumerate(why.tokens) if token.strip() == "circle")
    assert why.values[number] > 0
    tab = visit(serve(tmp_path / "i.visret") + "lab/")
    ask(tab, "red circle")
    expect(tab.locator("#quoted")).to_contain_text(f"words.pdf, page {hit.page}")
    expect(tab.locator("#tokens").get_by_label("markers and expansion")).to_be_checked()
    cell = why.places.cell_box(*divmod(int(why.best[number]), why.places.cols))
    shown = picture(tab)
    assert changed_inside_only(shown, redrawn(tab, switch(tab, "circle")), cell)


@pytest.mark.long
def test_it_is_worked_with_the_keyboard(url, visit):
    """From the question to a hit, and to the colours of its page."""
    tab = visit(url)
    expect(tab.get_by_label("Question", exact=True)).to_be_focused()
    tab.keyboard.type("red blue")
    tab.keyboard.press("Enter")
    expect(tab.locator("#quoted")).to_contain_text("red.pdf, page 1")
    for _ in range(12):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.matches('.thumbnail-item')"):
            break
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    expect(tab.locator("#quoted")).to_contain_text("report.pdf")
    shown = picture(tab)
    tab.get_by_label("Similarity").focus()
    maps = redrawn(tab, lambda: tab.keyboard.press("Space"))
    assert differ(maps, shown).mean() > 0.05
    expect(tab.locator("#legend")).to_contain_text("similarity")
    tab.get_by_role("slider", name="Opacity").focus()
    bare = redrawn(tab, lambda: tab.keyboard.press("Home"))
    assert differ(redrawn(tab, lambda: tab.keyboard.press("End")), bare).any()
    tab.get_by_role("button", name="All or none").focus()
    assert not differ(redrawn(tab, lambda: tab.keyboard.press("Enter")), bare).any()
    with tab.expect_download() as coming:
        tab.locator("#page").get_by_label("Download").click()
    with Image.open(coming.value.path()) as saved:
        assert saved.height / saved.width == pytest.approx(bare.shape[0] / bare.shape[1], rel=0.01)


def test_a_question_and_how_pages_are_ranked_are_an_address(url, visit):
    tab = visit(f"{url}?q=blue&doc=report.pdf&doc=red.pdf")
    expect(tab.locator(".found .caption-label")).to_have_count(9)
    expect(tab.get_by_label("Question", exact=True)).to_have_value("blue")
    tab.get_by_text("Only in some documents").click()
    # letter by letter, and again: Gradio misses what is put into a box while it still unfolds
    box, condition = tab.get_by_label("Metadata, as JSON"), '{"year": 2024}'
    for _ in range(5):
        box.clear()
        box.press_sequentially(condition)
        if box.input_value() == condition:
            break
    ask(tab, "red & blue")
    expect(tab.locator(".found .caption-label")).to_have_count(1)
    tab.wait_for_url("**/?q=red+%26+blue&doc=report.pdf&doc=red.pdf&where=%7B*")
    # the way of ranking is chosen, by which the score loses nothing for the length of the page
    caption = tab.locator(".found .caption-label").first
    usual = caption.inner_text()
    tab.get_by_label("Ranked by", exact=True).click()
    tab.get_by_role("option", name="maxsim", exact=True).click()
    tab.get_by_role("button", name="Ask", exact=True).click()
    expect(caption).not_to_have_text(usual)
    tab.wait_for_url("**/?q=red+%26+blue&doc=report.pdf&doc=red.pdf&where=%7B*&by=maxsim")
    other = visit(tab.url)
    expect(other.locator(".found .caption-label").first).to_have_text(caption.inner_text())
    tab.get_by_role("button", name="Pages like this one").click()
    expect(tab.get_by_text("the most alike come first")).to_be_visible()
    expect(other.locator("#quoted")).to_contain_text("red.pdf, page 1")
    expect(other.get_by_label("Question", exact=True)).to_have_value("red & blue")
    expect(other.locator(".found .caption-label")).to_have_count(1)


@pytest.mark.long
def test_two_models_stand_side_by_side(url, visit, tmp_path):
    tab = visit(url)
    tab.get_by_text("Search other documents").click()
    tab.get_by_label("Models (two").click()
    tab.get_by_role("option", name="all-minilm-l6-v2").click()
    upload(tab, FOLDER / "report.pdf", "toy: 8 pages of 1 document can be searched.")
    ask(tab, "blue")
    for model in ("toy", "all-minilm-l6-v2"):
        expect(tab.locator("#results").get_by_text(model, exact=True)).to_be_visible()
    second = tab.locator(".found").nth(1)
    caption = second.locator(".caption-label").nth(1).inner_text()
    second.locator("button.thumbnail-item").nth(1).click()
    expect(tab.locator("#quoted")).to_contain_text(caption.rpartition(" (")[0].replace("p.", "page"))


@pytest.mark.long
@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
def test_everybody_can_use_it(url, visit, viewport, scheme):
    tab = visit(url, viewport=viewport, color_scheme=scheme)
    assert tab.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    assert serious(tab) == {}
    ask(tab, "red")
    tab.get_by_text("Every token, and where it matched best").click()
    tab.get_by_text("Search other documents").click()
    tab.get_by_text("Only in some documents").click()
    expect(tab.get_by_label("Metadata, as JSON")).to_be_visible()
    assert serious(tab) == {}
    assert tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    tab.get_by_role("button", name="Light or dark").click()
    assert tab.evaluate("document.body.classList.contains('dark')") == (scheme != "dark")


def serious(tab):
    """What axe finds that keeps somebody out: rule -> the first place."""
    found = Axe().run(tab).response["violations"]
    return {rule["id"]: rule["nodes"][0]["html"] for rule in found if rule["impact"] in ("serious", "critical")}
