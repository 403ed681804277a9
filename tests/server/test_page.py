"""The page in a real browser: the first screen, hits, the viewer, and what its address keeps."""

import base64
import re
import shutil
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from support.manual import CHAPTERS, write_manual
from support.talker import talker
from support.waiting import until

from visret import Page, Retriever
from visret.explain import drawing
from visret.server import llm
from visret.server.keys import Key, hashed

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
QUESTION = "how much honey does a colony need to live until spring"


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A manual, a part of it under another name, and plain text."""
    folder = tmp_path_factory.mktemp("page")
    write_manual(folder / "docs" / "bees.pdf")
    write_manual(folder / "docs" / "deep" / "down" / "extract.pdf", dict(list(CHAPTERS.items())[3:]))
    with Retriever.create(folder / "i.visret") as retriever:
        retriever.add(folder / "docs")
        retriever.add_pages([Page.from_text("<b>Bold</b> text & more\nThe keeper writes letters.", doc="<i>notes")])
    return folder / "i.visret"


@pytest.fixture(scope="module")
def url(serve, index):
    return serve(index, lab=False)


@pytest.fixture
def visit(chromium):
    """visit(address): the page in a tab of a new visitor; it asks nobody else, and nothing in it fails."""
    contexts, wrong, asked = [], [], []

    def open_tab(address, **how):
        contexts.append(chromium.new_context(**{"viewport": DESKTOP, **how}))
        tab = contexts[-1].new_page()
        tab.set_default_timeout(60_000)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(address)
        return tab

    yield open_tab
    for context in contexts:
        context.close()
    assert wrong == []
    assert [one for one in asked if not one.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []


def ask(tab, question):
    tab.get_by_role("searchbox", name="Question").fill(question)
    tab.keyboard.press("Enter")


def hits(tab):
    return tab.locator(".pane").first.locator("a.hit")


def shown(tab):
    """The viewer with a page in it, as the address names it."""
    viewer = tab.locator(".viewer").first
    expect(viewer.locator(".number")).to_contain_text("page")
    expect(viewer).not_to_have_attribute("aria-busy", "true")
    return viewer


def given(tab):
    """What the address of the page says: name -> value."""
    return {name: values[0] for name, values in parse_qs(urlsplit(tab.url).query).items()}


def inside(tab, locator):
    """Whether an element is wholly in view, and not only by a scrolled parent's leave."""
    return locator.evaluate(
        """element => {
          const box = element.getBoundingClientRect();
          let seen = [0, 0, innerWidth, innerHeight];
          for (let one = element.parentElement; one; one = one.parentElement) {
            if (getComputedStyle(one).overflow === "visible") continue;
            const edge = one.getBoundingClientRect();
            seen = [Math.max(seen[0], edge.left), Math.max(seen[1], edge.top),
                    Math.min(seen[2], edge.right), Math.min(seen[3], edge.bottom)];
          }
          return box.width > 0 && box.left >= seen[0] - 1 && box.top >= seen[1] - 1
              && box.right <= seen[2] + 1 && box.bottom <= seen[3] + 1;
        }"""
    )


def test_the_first_screen_says_what_is_there_and_what_could_be_asked(url, visit):
    tab = visit(url)
    expect(tab.locator("#standing")).to_have_text("Search 10 pages of 3 documents.")
    expect(tab.get_by_role("searchbox", name="Question")).to_be_focused()
    names = tab.locator("#documents .name")
    expect(names).to_have_text(["bees.pdf", "extract.pdf", "<i>notes"])
    tab.get_by_role("searchbox", name="Filter the documents", exact=True).fill("ext down")
    expect(names).to_have_text(["extract.pdf"])
    offers = tab.locator("#tries a")
    expect(offers).to_have_count(3)
    expect(offers.first.locator("small")).to_have_text(re.compile("pdf"))  # whose heading it is
    question = offers.first.evaluate("offer => offer.firstChild.textContent")
    offers.first.click()
    expect(hits(tab).first).to_contain_text(question)
    expect(tab.get_by_role("searchbox", name="Question")).to_have_value(question)
    tab.go_back()
    expect(tab.locator("#standing")).to_be_visible()
    expect(tab.locator("#found")).to_be_hidden()


def test_hits_are_a_list_of_answers(url, visit):
    tab = visit(url)
    ask(tab, QUESTION)
    first = hits(tab).first
    expect(first.locator("strong")).to_have_text("bees.pdf")
    expect(first.locator(".at")).to_have_text("p. 1 · printed i")
    expect(first.locator("mark", has_text="honey").first).to_be_visible()
    shown(tab)
    assert all(inside(tab, hits(tab).nth(number)) for number in range(4))
    assert inside(tab, tab.locator(".frame").first)
    expect(first).to_have_attribute("aria-current", "true")
    # whatever a page says stays text
    letters = hits(tab).filter(has_text="<i>notes")
    expect(letters.locator(".quote")).to_contain_text("<b>Bold</b>")
    assert tab.locator(".hits b, .hits i:not(.thumb i, .bar i)").count() == 0
    expect(letters.locator(".thumb .words")).to_contain_text("<b>Bold</b> text & more")  # in place of a picture
    expect(tab.locator(".hits .weak .strength").first).to_have_text("weak match")
    assert given(tab)["show"] == "bees.pdf"


def test_it_is_worked_with_the_keyboard(url, visit):
    tab = visit(url)
    tab.keyboard.type(QUESTION)
    tab.keyboard.press("Enter")
    expect(hits(tab).first).to_have_attribute("aria-current", "true")
    tab.keyboard.press("ArrowDown")
    expect(hits(tab).first).to_be_focused()
    tab.keyboard.press("ArrowDown")
    second = hits(tab).nth(1)
    expect(second).to_be_focused()
    expect(second).to_have_attribute("aria-current", "true")
    where = second.locator(".at").inner_text().split()[1]
    expect(shown(tab).locator(".number")).to_contain_text(f"page {where} ")
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("n")
    expect(tab.locator(".viewer .number").first).to_contain_text("page 2 (printed ii) of 6")
    tab.keyboard.press("m")
    expect(tab.locator(".marks").first).to_be_hidden()
    before = tab.locator(".sheet").first.bounding_box()["width"]
    tab.keyboard.press("+")
    tab.wait_for_function("width => document.querySelector('.sheet').offsetWidth > width", arg=before)
    tab.keyboard.press("/")
    expect(tab.get_by_role("searchbox", name="Question")).to_be_focused()


def test_the_text_of_a_page_is_copied_in_reading_order(url, visit):
    tab = visit(f"{url}?show=bees.pdf&page=1")
    viewer = shown(tab)
    expect(viewer.locator(".text span").first).to_have_text(re.compile("Keeping"))
    copied = tab.evaluate(
        """() => {
          const spans = [...document.querySelectorAll(".text span")];
          getSelection().setBaseAndExtent(spans[1].firstChild, 0, spans[12].firstChild, 4);
          const clipboardData = new DataTransfer();
          const event = new ClipboardEvent("copy", {clipboardData, bubbles: true, cancelable: true});
          spans[1].dispatchEvent(event);
          return event.clipboardData.getData("text/plain");
        }"""
    )
    assert copied == "bees over winter\nA colony needs twenty kilograms of honey to live"
    # the words lie on their print
    word = viewer.locator(".text span", has_text="kilograms").bounding_box()
    sheet = viewer.locator(".sheet").bounding_box()
    text = tab.request.get(f"{url}text/bees.pdf/1.json").json()
    (box,) = (one["box"] for one in text["words"] if one["text"] == "kilograms")
    assert (word["x"] - sheet["x"]) / sheet["width"] == pytest.approx(box[0], abs=0.004)
    assert (word["y"] - sheet["y"]) / sheet["height"] == pytest.approx(box[1], abs=0.006)
    following = next(one["box"] for one in text["words"] if one["text"] == "of" and one["line"] == 1)
    assert (word["x"] + word["width"] - sheet["x"]) / sheet["width"] == pytest.approx(following[0], abs=0.004)


def test_a_page_is_drawn_again_where_it_is_enlarged(url, visit):
    tab = visit(f"{url}?q={QUESTION}&show=bees.pdf&page=1")
    shown(tab)
    expect(tab.locator(".sharp").first).to_be_hidden()
    with tab.expect_response(lambda answer: "box=" in answer.url and answer.ok) as drawn:
        for _ in range(5):
            tab.get_by_role("button", name="Larger").click()
    assert int(parse_qs(urlsplit(drawn.value.url).query)["dpi"][0]) > 200
    sharp = tab.locator(".sharp").first
    expect(sharp).to_be_visible()
    # in the end there is a pixel of the server for each of the screen
    tab.wait_for_function(
        """() => {
          const sharp = document.querySelector(".sharp"), wide = sharp.getBoundingClientRect().width;
          return sharp.complete && Math.abs(sharp.naturalWidth / wide - 1) < 0.02;
        }"""
    )
    tab.wait_for_url(re.compile("z="))
    tab.reload()
    zoom = given(tab)["z"]
    expect(tab.locator(".scale").first).to_have_text(f"{zoom} %")
    tab.get_by_role("button", name=re.compile("fit the width")).click()
    tab.wait_for_url(lambda address: "z=" not in address)


def test_a_mark_says_which_word_it_answers(url, visit):
    tab = visit(f"{url}?q={QUESTION}&show=bees.pdf&page=1")
    shown(tab)
    tab.locator(".asked").first.get_by_role("button", name="honey").click()  # scrolls there
    tip = tab.locator(".tip").first
    for _ in range(20):  # the page may still be moving to the mark
        mark = tab.locator(".mark[data-words='honey']").first.bounding_box()
        tab.mouse.move(mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
        if tip.is_visible():
            break
        tab.wait_for_timeout(100)
    expect(tip).to_have_text("answers “honey”")
    word = tab.locator(".asked").first.get_by_role("button", name="colony")
    word.hover()
    expect(tab.locator(".mark.lit").first).to_have_attribute("data-words", "colony")
    link = tab.get_by_role("link", name="Open the PDF").first.get_attribute("href")
    assert re.fullmatch(r"document/bees\.pdf#page=1&view=FitH,\d+&zoom=auto,0,\d+", link)


def test_a_word_of_the_question_holds_its_marks(url, visit):
    tab = visit(f"{url}?q={QUESTION}&show=bees.pdf&page=1")
    shown(tab)
    honey, colony = (tab.locator(".asked").first.get_by_role("button", name=name) for name in ("honey", "colony"))
    honey.click()
    expect(honey).to_have_attribute("aria-pressed", "true")
    colony.hover()
    expect(tab.locator(".mark.lit").first).to_have_attribute("data-words", "colony")
    tab.locator(".title").first.hover()
    tab.get_by_role("searchbox", name="Question").focus()
    expect(tab.locator(".mark.lit")).not_to_have_count(0)
    assert {one.get_attribute("data-words") for one in tab.locator(".mark.lit").all()} == {"honey"}
    colony.click()
    expect(honey).to_have_attribute("aria-pressed", "false")
    colony.click()
    tab.get_by_role("searchbox", name="Question").focus()
    expect(tab.locator(".mark.dim")).to_have_count(0)


def test_the_frame_goes_through_no_word(url, visit):
    tab = visit(f"{url}?q={QUESTION}&show=bees.pdf&page=1")
    shown(tab)
    box = tab.locator(".frame").first.bounding_box()
    sheet = tab.locator(".sheet").first.bounding_box()
    width, height = sheet["width"], sheet["height"]
    left, top = (box["x"] - sheet["x"]) / width, (box["y"] - sheet["y"]) / height
    edges = (left, top, left + box["width"] / width, top + box["height"] / height)
    words = np.array([one["box"] for one in tab.request.get(f"{url}text/bees.pdf/1.json").json()["words"]])
    why = tab.request.get(f"{url}explanation/bees.pdf/1.json", params={"q": QUESTION}).json()
    (frame,) = drawing.frames(why["passages"][0]["boxes"])
    assert edges == pytest.approx(drawing.with_room(frame, words), abs=0.001)  # as in pictures of pages
    assert edges != pytest.approx(frame, abs=0.001)


def test_the_marked_pages_of_a_document_are_a_strip(url, visit):
    tab = visit(f"{url}?q={QUESTION}&show=bees.pdf&page=1")
    strip = tab.locator(".strip").first
    expect(strip.get_by_role("button")).to_have_count(6)
    expect(strip.locator(".here")).to_have_attribute("aria-label", re.compile(r"^Page 1, \d\d of 100$"))
    strip.get_by_role("button", name="Page 5").click()
    expect(tab.locator(".number").first).to_contain_text("page 5 (printed 3) of 6")
    expect(strip.locator(".here")).to_have_attribute("aria-label", re.compile("Page 5"))
    tab.go_back()
    expect(tab.locator(".number").first).to_contain_text("page 1 ")
    expect(strip.locator(".here")).to_have_attribute("aria-label", re.compile(r"^Page 1, "))


def test_weak_pages_are_small_in_the_strip(url, visit):
    tab = visit(f"{url}?q=stock market&show=bees.pdf&page=1")
    weak = tab.locator(".strip .weak")
    expect(weak.first).to_have_attribute("aria-label", re.compile("weak$"))
    heights = weak.evaluate_all("all => all.map(one => parseFloat(getComputedStyle(one, '::before').height))")
    assert sorted(set(heights))[0] < 10  # the page that is shown is as tall as ever


def test_a_search_in_one_document_is_said_and_taken_back(url, visit):
    tab = visit(url)
    tab.get_by_role("link", name="Search only in bees.pdf").click()
    expect(tab.locator("#standing")).to_contain_text("Search only in bees.pdf")
    expect(tab.locator("#documents .chosen")).to_have_count(1)
    expect(tab.locator("#question")).to_be_focused()
    tab.get_by_role("link", name="Search in all").click()
    expect(tab.locator("#standing")).not_to_contain_text("only")
    expect(tab.locator("#documents .chosen")).to_have_count(0)


def test_on_a_phone_it_is_in_view_that_nothing_answers_and_the_nearest_can_be_seen(url, visit):
    tab = visit(f"{url}?q=stock market&weak=1", viewport=PHONE)
    expect(tab.locator("#said")).to_have_text(re.compile("No page answers this"))
    assert inside(tab, tab.locator("#said"))
    tab.get_by_role("button", name="Show the nearest pages").click()
    expect(hits(tab).first).to_be_visible()
    expect(tab.locator("#said")).to_have_text(re.compile("these are the nearest"))
    assert inside(tab, tab.locator("#said"))


def test_what_the_marks_mean_is_said(url, visit):
    for how in ({}, {"viewport": PHONE}):
        tab = visit(f"{url}?q={QUESTION}", **how)
        bar = hits(tab).first.get_by_role("img", name="How well it answers: ")
        level = round(100 * bar.evaluate("bar => bar.firstChild.offsetWidth / bar.offsetWidth"))
        assert bar.get_attribute("title") == bar.get_attribute("aria-label")
        assert int(bar.get_attribute("title").split()[4]) == pytest.approx(level, abs=1)
        expect(tab.locator(".weak").get_by_role("img", name=", weak").first).to_be_visible()
        legend = tab.locator("#legend summary")
        legend.focus()
        tab.keyboard.press("Enter")
        menu = tab.locator("#legend .menu")
        expect(menu).to_contain_text("how well a page answers")
        expect(menu).to_contain_text("the pages of a document that answer")
        assert inside(tab, menu)
        assert found_by_axe(tab) == {}
        tab.keyboard.press("Escape")
        expect(menu).to_be_hidden()
        expect(legend).to_be_focused()
    strip = visit(f"{url}?q={QUESTION}&show=bees.pdf&page=1").locator(".strip").first
    expect(strip).to_have_attribute("title", re.compile("the stronger the colour, the better"))


def test_hits_that_are_all_of_one_document_say_so(serve, tmp_path, visit):
    write_manual(tmp_path / "long.pdf", {f"Honey of year {number}": "Honey is kept in jars." for number in range(9)})
    write_manual(
        tmp_path / "bees.pdf", {**dict(list(CHAPTERS.items())[:2]), "Jars": "Jars of honey, kept in a cellar."}
    )
    with Retriever.create(tmp_path / "i.visret") as retriever:
        retriever.add([tmp_path / "bees.pdf", tmp_path / "long.pdf"])
        found = [hit.doc for hit in retriever.search("honey is kept in jars", 10)]
        assert set(found) == {"bees.pdf", "long.pdf"}
    tab = visit(f"{serve(tmp_path / 'i.visret', lab=False)}?q=honey is kept in jars&where=%7B%22page%22%3A9%7D")
    alike = tab.locator(".alike").first
    expect(hits(tab)).to_have_count(1)
    expect(alike).to_be_hidden()  # of one hit, that says nothing
    tab.goto(tab.url.split("?")[0] + "?q=honey is kept in jars&where=%7B%22page%22%3A%7B%22%3E%22%3A3%7D%7D")
    expect(hits(tab)).to_have_count(6)
    expect(alike).to_contain_text("All 6 from long.pdf.")
    assert found_by_axe(tab) == {}
    alike.get_by_role("button", name="Each document once").click()
    expect(hits(tab)).to_have_count(1)
    expect(hits(tab).first.locator(".share")).to_have_text("6 of the 6 best pages")
    expect(tab.get_by_label("each document once")).to_be_checked()
    tab.go_back()
    alike.get_by_role("button", name="Leave it out").click()
    expect(hits(tab)).to_have_count(0)
    expect(alike).to_contain_text("Without long.pdf.")
    assert given(tab)["not"] == "long.pdf"
    tab.reload()
    expect(alike).to_contain_text("Without long.pdf.")
    alike.get_by_role("button", name="Search there too").click()
    expect(hits(tab)).to_have_count(6)
    tab.goto(tab.url.split("?")[0] + "?q=honey is kept in jars&group_by=document")
    expect(hits(tab)).to_have_count(2)
    shares = [f"{found.count(doc)} of the 10 best pages" for doc in dict.fromkeys(found) if found.count(doc) > 1]
    expect(tab.locator(".share:not(:empty)")).to_have_text(shares)


def test_a_quotation_begins_where_most_marks_are(url, visit):
    lines = [f"line {number} says what nobody has asked for here" for number in range(12)]
    lines[9] = "line 9 is about honey and the honey of bees"
    text = "\n".join(lines)
    marks = [[0, 4], *([found.start(), found.end()] for found in re.finditer("honey", text))]
    tab = visit(url)
    began = tab.evaluate(
        "async ([text, marks]) => (await import('./static/parts.js')).opening(text, marks, 165)", [text, marks]
    )
    assert text[began:].startswith("line 8 ")
    for some, there in (([], text), ([[0, 4]], text), (marks, text.replace("\n", " "))):
        began = tab.evaluate(
            "async ([text, marks]) => (await import('./static/parts.js')).opening(text, marks, 165)", [there, some]
        )
        if len(some) < 2:
            assert began == 0
        else:  # one long line
            assert text.index("honey") - 61 <= began <= text.index("honey")
            assert there[began - 1] == " "


def test_plain_text_is_shown_as_text(url, visit):
    tab = visit(f"{url}?q=who writes letters&show=<i>notes&page=1")
    viewer = shown(tab)
    expect(viewer.locator(".text")).to_contain_text("<b>Bold</b> text & more")
    expect(viewer.locator(".text mark", has_text="letters").first).to_be_visible()
    expect(viewer.locator(".drawn")).to_be_hidden()


def test_everything_that_is_seen_is_in_the_address(url, visit):
    tab = visit(f"{url}?q={QUESTION}")
    shown(tab)
    tab.get_by_label("each document once").check()
    expect(hits(tab)).to_have_count(3)
    tab.get_by_role("button", name="More from it: bees.pdf").click()
    expect(hits(tab)).to_have_count(6)
    expect(tab.locator("#scope summary")).to_have_text("bees.pdf")
    tab.get_by_label("Ranked by").select_option("bm25")
    expect(hits(tab).first).to_contain_text("bees.pdf")
    tab.wait_for_url(re.compile("by=bm25.*show="))
    tab.get_by_role("button", name="Marks").click()
    tab.wait_for_url(re.compile("marks=off"))
    tab.go_back()
    expect(tab.locator(".mark").first).to_be_visible()
    tab.go_forward()
    tab.wait_for_url(re.compile("marks=off"))
    before = tab.url
    number = shown(tab).locator(".number").inner_text()
    other = visit(before)
    expect(shown(other).locator(".number")).to_have_text(number)
    expect(hits(other)).to_have_count(hits(tab).count())
    expect(other.locator(".marks").first).to_be_hidden()
    expect(other.get_by_label("Ranked by")).to_have_value("bm25")
    ask(tab, "queen")
    expect(tab.locator(".hits")).to_contain_text("Raising a new queen")
    tab.go_back()
    expect(tab.get_by_role("searchbox", name="Question")).to_have_value(QUESTION)
    assert given(tab)["doc"] == "bees.pdf"


def test_the_theme_is_remembered(url, visit):
    tab = visit(url, color_scheme="light")
    tab.get_by_role("button", name="Dark").click()
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    tab.reload()
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == ground
    expect(tab.get_by_role("button", name="Light")).to_be_visible()


# The lightness of the corner of the page that is shown, where nothing is printed; from 0 to 255.
CORNER = """async ([x, y, png]) => {
  const picture = new Image();
  picture.src = "data:image/png;base64," + png;
  await picture.decode();
  const canvas = Object.assign(document.createElement("canvas"), {width: picture.width, height: picture.height});
  const drawn = canvas.getContext("2d");
  drawn.drawImage(picture, 0, 0);
  return drawn.getImageData(x, y, 1, 1).data[0];
}"""


def test_pages_are_dimmed_in_the_dark_unless_they_are_to_be_bright(url, visit):
    def lightness():
        tab.wait_for_function("() => document.querySelector('.drawn').complete")
        box = tab.locator(".sheet").first.bounding_box()
        shot = base64.b64encode(tab.screenshot()).decode()
        return tab.evaluate(CORNER, [round(box["x"] + box["width"] - 20), 400, shot])

    tab = visit(f"{url}?show=bees.pdf&page=1", color_scheme="light")
    shown(tab)
    dim = tab.get_by_role("button", name="Dim")
    expect(dim).to_be_hidden()
    assert lightness() == 255
    tab.emulate_media(color_scheme="dark")
    expect(dim).to_have_attribute("aria-pressed", "true")
    assert 180 < lightness() < 220
    expect(tab.locator(".drawn").first).to_have_css("filter", "brightness(0.8)")  # no colour becomes another
    tab.locator(".stage").first.focus()
    tab.keyboard.press("d")
    expect(dim).to_have_attribute("aria-pressed", "false")
    assert lightness() == 255
    tab.reload()
    shown(tab)
    expect(dim).to_have_attribute("aria-pressed", "false")
    assert lightness() == 255
    dim.click()
    tab.reload()
    shown(tab)
    expect(dim).to_have_attribute("aria-pressed", "true")


ABOVE_THE_MIDDLE = """stage => {
  const frame = stage.querySelector(".frame")?.getBoundingClientRect(), box = stage.getBoundingClientRect();
  return frame && frame.top >= box.top + 20 && frame.bottom < (box.top + box.bottom) / 2 + frame.height;
}"""


def test_two_ways_of_ranking_stand_side_by_side_with_their_pages(url, visit):
    tab = visit(f"{url}?q={QUESTION}")
    tab.get_by_label("beside").select_option("bm25")
    panes = tab.locator(".pane")
    expect(panes).to_have_count(2)
    expect(panes.nth(0).locator(".way")).to_have_text("as usual")
    expect(panes.nth(1).locator(".way")).to_have_text("words (BM25)")
    for pane in (panes.nth(0), panes.nth(1)):
        expect(pane.locator(".number")).to_contain_text("page 1 (printed i)")
        tab.wait_for_function(ABOVE_THE_MIDDLE, arg=pane.locator(".stage").element_handle())
    panes.nth(1).locator("a.hit").nth(1).click()
    expect(panes.nth(1).locator(".number")).not_to_contain_text("page 1 (")
    expect(panes.nth(0).locator(".number")).to_contain_text("page 1 (printed i)")
    assert {"show", "show2", "beside"} <= given(tab).keys()


def test_each_hit_says_its_place_in_both_lists(serve, tmp_path, visit):
    write_manual(tmp_path / "long.pdf", {f"Honey of year {number}": "Honey is kept in jars." for number in range(24)})
    write_manual(tmp_path / "bees.pdf")
    with Retriever.create(tmp_path / "i.visret") as retriever:
        retriever.add([tmp_path / "bees.pdf", tmp_path / "long.pdf"])
        lists = [[hit.ref for hit in retriever.search("feeding honey at dusk", 10, by=by)] for by in ("late", "bm25")]
    tab = visit(f"{serve(tmp_path / 'i.visret', lab=False)}?q=feeding honey at dusk&by=late&beside=bm25")
    for here in (0, 1):
        items = tab.locator(".pane").nth(here).locator("a.hit")
        expect(items).to_have_count(10)
        expect(items.locator(".rank")).to_have_text([f"{number}." for number in range(1, 11)])
        there = lists[1 - here]
        none = "not among the first 10 of the other list"
        said = [f"place {there.index(ref) + 1} in the other list" if ref in there else none for ref in lists[here]]
        assert none in said
        assert any(one.startswith("place ") for one in said)
        expect(items.locator(".there")).to_have_text(said)
    # more pages of the other list are looked at too
    tab.locator(".pane").nth(1).get_by_role("button", name="More pages").click()
    expect(tab.locator(".pane").nth(0).locator(".there", has_text="not among the first 10")).to_have_count(0)
    tab.locator("#beside").select_option("")
    expect(tab.locator(".pane").nth(1)).to_be_hidden()
    expect(hits(tab).first.locator(".rank")).to_be_hidden()
    expect(hits(tab).first.locator(".there")).to_be_hidden()


def test_a_server_that_is_gone_loses_no_question(serve, index, visit):
    address = serve(index, lab=False)
    server, thread = serve.last
    tab = visit(address)
    expect(tab.locator("#documents .name")).to_have_count(3)
    server.should_exit = True
    thread.join()
    ask(tab, QUESTION)
    expect(tab.get_by_role("alert")).to_contain_text("The server does not answer. Your question is kept")
    expect(tab.get_by_role("searchbox", name="Question")).to_have_value(QUESTION)
    assert given(tab)["q"] == QUESTION
    serve(index, lab=False, port=int(urlsplit(address).port))
    expect(hits(tab).first).to_contain_text("bees.pdf")  # it is asked again by itself
    expect(tab.get_by_role("alert")).to_be_hidden()


def test_hits_of_another_question_say_so(serve, index, visit):
    address = serve(index, lab=False)
    server, thread = serve.last
    tab = visit(f"{address}?q={QUESTION}")
    expect(tab.locator(".number").first).to_contain_text("page 1 ")
    server.should_exit = True
    thread.join()
    ask(tab, "who writes letters")
    expect(tab.locator(".old").first).to_have_text(f"These pages answer what was asked before: “{QUESTION}”")
    expect(tab.locator(".stale .hits")).to_have_css("opacity", "0.5")
    hits(tab).nth(1).click()  # a page that cannot be had: the one that is shown stays
    expect(tab.locator(".viewer").first).to_be_visible()
    expect(tab.locator(".number").first).to_contain_text("page 1 ")
    expect(tab.get_by_role("alert")).to_contain_text("The server does not answer.")
    serve(index, lab=False, port=int(urlsplit(address).port))
    expect(tab.locator(".old").first).to_be_hidden()
    expect(tab.get_by_role("alert")).to_be_hidden()
    expect(tab.locator(".viewer").first).not_to_have_attribute("aria-busy", "true")


def test_a_page_that_is_on_its_way_has_its_name(url, visit):
    tab = visit(url)
    held = []
    tab.route("**/text/**", lambda route: held.append(route))
    tab.goto(f"{url}?show=bees.pdf&page=1")
    expect(tab.locator(".viewer[aria-busy=true] h2")).to_have_text("bees.pdf")
    assert found_by_axe(tab) == {}
    held[0].continue_()
    expect(tab.locator(".viewer .number")).to_contain_text("page 1")


def test_a_page_that_cannot_be_shown_gives_way_to_the_best(url, visit):
    tab = visit(f"{url}?q={QUESTION}&show=gone.pdf&page=1&of=mine")
    expect(tab.locator(".title").first).to_have_text("bees.pdf")
    expect(tab.get_by_role("alert")).to_contain_text(
        "This address points to a file that only its owner can see; here is the best page of the index."
    )
    assert given(tab)["show"] == "bees.pdf"
    tab = visit(f"{url}?q={QUESTION}&show=gone.pdf&page=1")
    expect(tab.locator(".title").first).to_have_text("bees.pdf")
    expect(tab.get_by_role("alert")).to_contain_text("did you mean 'bees.pdf'? Here is the best page of the index.")
    tab = visit(f"{url}?show=gone.pdf&page=1&of=mine")
    expect(tab.get_by_role("alert")).to_contain_text("a file that only its owner can see.")
    expect(tab.locator("#start")).to_be_visible()


def test_further_hits_are_in_the_address(serve, tmp_path, visit):
    write_manual(tmp_path / "long.pdf", {f"Honey of year {number}": "Honey is kept in jars." for number in range(24)})
    with Retriever.create(tmp_path / "i.visret") as retriever:
        retriever.add(tmp_path / "long.pdf")
    tab = visit(f"{serve(tmp_path / 'i.visret', lab=False)}?q=honey in jars")
    expect(hits(tab)).to_have_count(10)
    tab.get_by_role("button", name="More pages").click()
    expect(hits(tab)).to_have_count(20)
    assert given(tab)["n"] == "20"
    tab.reload()
    expect(hits(tab)).to_have_count(20)
    tab.get_by_role("button", name="More pages").click()
    expect(hits(tab)).to_have_count(24)
    assert tab.locator("#filtering").is_hidden()  # there is no metadata
    ask(tab, "jars")
    expect(hits(tab)).to_have_count(10)
    assert "n" not in given(tab)


def test_a_filter_that_is_none_stays_in_its_field(serve, index, visit, tmp_path):
    shutil.copytree(index, tmp_path / "i.visret")
    with Retriever.open(tmp_path / "i.visret") as retriever:
        retriever.set_metadata("bees.pdf", {"year": 2020})
    tab = visit(f"{serve(tmp_path / 'i.visret', lab=False)}?q={QUESTION}")
    expect(hits(tab).first).to_contain_text("bees.pdf")
    tab.locator("#scope summary").click()
    field = tab.get_by_label("Metadata, as JSON")
    field.fill('{"year": ')
    field.press("Enter")
    expect(tab.locator("#where-wrong")).to_contain_text("The metadata must be a JSON object")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(tab.locator("#scope summary")).to_have_text("All documents")
    assert "where" not in given(tab)
    field.fill('{"year": 2020}')
    field.press("Enter")
    expect(tab.locator("#where-wrong")).to_be_hidden()
    expect(hits(tab)).to_have_count(6)
    expect(tab.locator("#scope summary")).to_have_text("All documents, filtered")


def test_what_is_wrong_is_said_in_words(url, visit):
    tab = visit(f"{url}?q=honey&where=%7Bno")
    expect(tab.get_by_role("alert")).to_contain_text("The metadata must be a JSON object")
    expect(tab.locator("#where")).to_have_value("{no")
    tab = visit(f"{url}?q=honey&by=magic")
    expect(tab.get_by_role("alert")).to_contain_text("magic")
    tab = visit(f"{url}?q=zzzqqq&by=bm25")
    expect(tab.locator("#said")).to_have_text("No page has any word of this question ('zzzqqq').")


def test_own_files_are_searched_beside_the_index(url, visit, tmp_path):
    write_manual(tmp_path / "mine.pdf", {"Painting the hive": "Use linseed oil on the outside. Two coats are enough."})
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 no")
    (tmp_path / "film.mp4").write_bytes(b"no")
    tab = visit(url)
    expect(tab.locator("#own-note")).to_contain_text("Only you can search them, beside the index.")
    tab.locator("#files").set_input_files([tmp_path / name for name in ("mine.pdf", "broken.pdf", "film.mp4")])
    expect(tab.locator("#own-documents .name")).to_have_text(["mine.pdf"])
    expect(tab.locator("#own-state")).to_contain_text("1 page of 1 file can be searched, for 24 hours more.")
    expect(tab.locator("#own-state")).to_contain_text("broken.pdf was not read: it is ")
    expect(tab.locator("#own-state")).to_contain_text("film.mp4: files of this kind are not read; .pdf .png ")
    expect(tab.locator("#standing")).to_contain_text("and 1 page of your own")
    tab.reload()
    expect(tab.locator("#own-documents .name")).to_have_text(["mine.pdf"])
    ask(tab, "which oil for the outside of a hive")
    expect(hits(tab).first).to_contain_text("your file")
    expect(hits(tab).filter(has_text="bees.pdf").first).to_be_visible()
    expect(shown(tab).locator(".title")).to_have_text("mine.pdf")
    assert given(tab)["of"] == "mine"
    tab.locator("#scope summary").click()
    tab.get_by_role("radio", name="Your own files").check()
    expect(hits(tab)).to_have_count(1)
    tab.locator("#home").click()
    tab.get_by_role("button", name="Delete mine.pdf").click()
    expect(tab.locator("#own-documents .name")).to_have_count(0)


DROPPED = """([name, text]) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([text], name));
  for (const kind of ["dragover", "drop"]) {
    if (kind === "drop" && !document.querySelector("#onto").checkVisibility()) throw Error("no word where to drop");
    document.body.dispatchEvent(new DragEvent(kind, {dataTransfer, bubbles: true, cancelable: true}));
  }
}"""


def test_files_dropped_on_the_answers_are_searched_too(url, visit):
    tab = visit(f"{url}?q={QUESTION}")
    expect(hits(tab).first).to_contain_text("bees.pdf")
    expect(tab.locator("#yours")).to_be_hidden()
    tab.evaluate(DROPPED, ["mine.txt", "A colony needs honey to live until spring: twenty kilograms."])
    expect(tab.locator("#brought")).to_have_text("mine.txt: 1 page added. ")
    expect(hits(tab).filter(has_text="your file").first).to_contain_text("mine.txt")
    expect(tab.locator("#yours")).to_have_text("+ 1 page of yours")
    assert given(tab)["q"] == QUESTION
    assert found_by_axe(tab) == {}
    tab.evaluate(DROPPED, ["song.mp3", "la la"])
    expect(tab.locator("#brought")).to_contain_text("song.mp3: files of this kind are not read; .pdf .png ")
    tab.route("**/mine/documents", lambda route: route.fulfill(status=500, json={"detail": "the server failed"}))
    tab.evaluate(DROPPED, ["more.txt", "More."])
    expect(tab.locator("#brought")).to_contain_text("more.txt was not added; try again.")
    tab.locator("#yours").click()
    expect(tab.locator("#own-state")).to_contain_text("more.txt was not added; try again.")


def test_files_that_are_chosen_before_the_page_is_ready_are_not_lost(url, visit, tmp_path):
    write_manual(tmp_path / "mine.pdf", {"Painting the hive": "Use linseed oil on the outside. Two coats are enough."})
    tab, held = visit(url), []
    tab.route("**/start", lambda route: held.append(route))
    tab.reload()
    tab.locator("#files").set_input_files(tmp_path / "mine.pdf")
    assert len(held) == 1
    held[0].continue_()
    expect(tab.locator("#own-documents .name")).to_have_text(["mine.pdf"])


def test_without_an_index_there_are_own_files(serve, visit, tmp_path):
    tab = visit(serve(None, model="all-minilm-l6-v2", lab=False))
    expect(tab.locator("#standing")).to_have_text("Drop files below, and ask what they say.")
    write_manual(tmp_path / "mine.pdf")
    tab.locator("#files").set_input_files(tmp_path / "mine.pdf")
    expect(tab.locator("#tries a")).to_have_count(3)
    ask(tab, QUESTION)
    expect(hits(tab).first.locator(".at")).to_have_text("p. 1 · printed i")


def test_a_written_answer_leads_to_the_places_that_it_cites(serve, index, visit):
    with talker(pieces=["- A colony needs **twenty kilo", "grams** of honey [1], <b>or</b> more [9]."]) as (
        address,
        asked,
    ):
        tab = visit(f"{serve(index, lab=False, llm=llm.named(address, 'bee-7b'))}?q={QUESTION}")
        expect(hits(tab).first).to_contain_text("bees.pdf")
        assert asked == []  # only if somebody wants it
        tab.get_by_label("with a written answer").check()
        prose = tab.locator(".written .prose").first
        expect(prose).to_have_text("• A colony needs twenty kilograms of honey 1, <b>or</b> more [9].")
        expect(prose.locator("strong")).to_have_text("twenty kilograms")
        expect(tab.locator(".written small").first).to_contain_text("by bee-7b")
        assert given(tab)["answer"] == "yes"
        expect(hits(tab).first.locator(".cites")).to_have_text("[1]")
        expect(prose.locator(".uncited")).to_have_attribute("title", "no page [9] was shown to the model")
        tab.get_by_role("button", name="Next page").click()
        expect(tab.locator(".number").first).to_contain_text("page 2 ")
        prose.get_by_role("button", name="1: bees.pdf, page 1").click()
        expect(tab.locator(".number").first).to_contain_text("page 1 ")
        expect(tab.locator(".cited-place").first).to_be_visible()
        assert inside(tab, tab.locator(".cited-place").first)
        assert len(asked) == 1
        assert found_by_axe(tab) == {}
        ask(tab, "the stock market crash of 1929")
        expect(prose).to_have_text("Not in these documents: no page answers this well.")
    ask(tab, QUESTION)  # the model is gone
    wrong = tab.locator(".written").get_by_role("alert")
    expect(wrong).to_contain_text("No answer: the language model cannot be reached. The pages below are unaffected.")
    expect(tab.locator(".written h2")).to_be_hidden()
    expect(prose).to_have_text("")
    assert found_by_axe(tab) == {}
    with talker(pieces=["Twenty."], port=int(urlsplit(address).port)):
        wrong.get_by_role("button", name="Try again").click()
        expect(prose).to_have_text("Twenty.")
        expect(wrong).to_be_hidden()


def test_a_written_answer_is_copied_with_the_names_of_its_pages(serve, index, visit):
    with talker(pieces=["- A colony needs **twenty** [1], ", "and wind [1][2] costs more [9]."]) as (address, _):
        tab = visit(f"{serve(index, lab=False, llm=llm.named(address, 'bee-7b'))}?q={QUESTION}&answer=yes")
        tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
        expect(tab.locator(".written .cited")).to_have_count(3)
        second = tab.locator(".written .cited").nth(2).get_attribute("title")
        copy = tab.locator(".written").get_by_role("button", name="Copy")
        copy.click()
        expect(tab.locator(".copied").first).to_have_text("Copied.")
        wanted = f"• A colony needs twenty (bees.pdf, page 1), and wind (bees.pdf, page 1; {second}) costs more [9]."
        assert tab.evaluate("navigator.clipboard.readText()") == wanted
        # a server that is reached over plain HTTP by another name has no clipboard
        tab.evaluate("navigator.clipboard.writeText('before')")
        tab.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(Error('not here')); }")
        copy.click()
        tab.wait_for_function("async wanted => await navigator.clipboard.readText() === wanted", arg=wanted)


def test_a_written_answer_can_be_stopped(serve, index, visit):
    with talker(pieces=["A colony needs twenty [1] ", "for ", "ever "], then_waits=True) as (address, asked):
        tab = visit(f"{serve(index, lab=False, llm=llm.named(address, 'bee-7b'))}?q={QUESTION}&answer=yes")
        prose = tab.locator(".written .prose").first
        expect(prose).to_contain_text("for ever")
        expect(tab.locator(".written").get_by_role("button", name="Copy")).to_be_hidden()
        tab.locator(".written").get_by_role("button", name="Stop").click()
        expect(tab.locator(".written").first).not_to_have_attribute("aria-busy", "true")
        expect(tab.locator(".written small").first).to_contain_text("; stopped")
        expect(prose).to_have_text("A colony needs twenty 1 for ever")
        tab.get_by_role("button", name="Next page").click()
        prose.get_by_role("button", name="1: bees.pdf, page 1").click()
        expect(tab.locator(".number").first).to_contain_text("page 1 ")
        expect(tab.locator(".written").get_by_role("button", name="Copy")).to_be_visible()
        until(lambda: asked.left)  # the model writes for nobody
        assert found_by_axe(tab) == {}


def test_a_question_goes_on_from_a_written_answer(serve, index, visit):
    with talker(pieces=["Twenty kilograms [1]."]) as (address, asked):
        tab = visit(f"{serve(index, lab=False, llm=llm.named(address, 'bee-7b'))}?q={QUESTION}&answer=yes")
        further = tab.get_by_label("Ask further, about the answer")
        further.fill("and how is it wrapped?")
        further.press("Enter")
        prose = tab.locator(".written .prose")
        expect(prose).to_have_count(2)
        expect(tab.locator(".written .asks").nth(1)).to_have_text("and how is it wrapped?")
        expect(prose.nth(1).locator(".cited")).to_have_count(1)
        assert [len(body["messages"]) for _, _, body in asked] == [2, 4]
        _, first, answer, last = asked[-1][2]["messages"]
        assert first == {"role": "user", "content": f"Question: {QUESTION}"}
        assert answer == {"role": "assistant", "content": "Twenty kilograms (bees.pdf, page 1)."}
        assert last["content"].endswith("Question: and how is it wrapped?")
        assert given(tab)["then"] == "and how is it wrapped?"
        assert found_by_axe(tab) == {}
        tab.go_back()
        expect(prose).to_have_count(1)
        assert len(asked) == 2  # the first answer is still there
        tab.go_forward()
        expect(prose).to_have_count(2)
        tab.reload()
        expect(prose).to_have_count(2)
        expect(prose.nth(1).locator(".cited")).to_have_count(1)
        ask(tab, "who writes letters")
        expect(prose).to_have_count(1)
        assert "then" not in given(tab)


def test_a_written_answer_cites_own_files_too(serve, index, visit, tmp_path):
    write_manual(tmp_path / "mine.pdf", {"Painting the hive": "Use linseed oil on the outside. Two coats are enough."})
    with talker(pieces=["Linseed oil [1]."]) as (address, _):
        tab = visit(serve(index, lab=False, llm=llm.named(address, "bee-7b")))
        tab.locator("#files").set_input_files(tmp_path / "mine.pdf")
        expect(tab.locator("#own-documents .name")).to_have_text(["mine.pdf"])
        ask(tab, "which oil for the outside of a hive")
        tab.get_by_label("with a written answer").check()
        hits(tab).nth(1).click()
        expect(shown(tab).locator(".title")).to_have_text("bees.pdf")
        tab.get_by_role("button", name="1: mine.pdf, page 1").click()
        expect(tab.locator(".title").first).to_have_text("mine.pdf")
        expect(tab.locator(".cited-place")).to_have_count(1)
        assert given(tab)["of"] == "mine"


def test_a_bound_key_sees_its_own_documents_alone(serve, index, visit, tmp_path):
    shutil.copytree(index, tmp_path / "i.visret")
    with Retriever.open(tmp_path / "i.visret") as retriever:
        retriever.set_metadata("bees.pdf", {"tenant": "a"})
    key = Key("a", hashed("key-of-tenant-a-0"), ("read",), {"tenant": "a"})
    address = serve(tmp_path / "i.visret", keys=(key,))
    assert visit(address).get_by_label("Key").is_visible()
    tab = visit(f"{address}?key=key-of-tenant-a-0")
    expect(tab.locator("#documents .name")).to_have_text(["bees.pdf"])
    expect(tab.locator("#standing")).to_have_text("Search 6 pages of 1 document.")
    expect(tab.locator("#own")).to_be_hidden()  # it may only read
    expect(tab.locator("#lab")).to_be_hidden()
    assert found_by_axe(tab) == {}
    tab.locator("#tries a").first.click()
    expect(hits(tab).first).to_contain_text("bees.pdf")
    assert set(tab.locator(".hits strong").all_inner_texts()) == {"bees.pdf"}
    expect(shown(tab).locator(".number")).to_contain_text("of 6")
    expect(tab.locator(".frame").first).to_be_visible()
    tab = visit(f"{address}?key=key-of-tenant-a-0&show=deep/down/extract.pdf&page=1")
    expect(tab.get_by_role("alert")).to_contain_text("No page 1 of deep/down/extract.pdf in this index.")


def test_on_a_phone_a_tap_shows_the_page(url, visit):
    tab = visit(f"{url}?q={QUESTION}", viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    expect(hits(tab).first).to_contain_text("bees.pdf")
    expect(tab.locator(".viewer").first).to_be_hidden()
    hits(tab).first.tap()
    shown(tab)
    assert inside(tab, tab.locator(".frame").first)
    before = sheet_width(tab)
    tab.evaluate(
        """() => {
          const stage = document.querySelector(".stage");
          const one = (n, clientX) => new Touch({identifier: n, target: stage, clientX, clientY: 400});
          const two = gap => [one(0, 180 - gap), one(1, 180 + gap)];
          for (const [kind, gap] of [["touchstart", 40], ["touchmove", 60], ["touchmove", 80]]) {
            stage.dispatchEvent(new TouchEvent(kind, {touches: two(gap), bubbles: true, cancelable: true}));
          }
        }"""
    )
    twice = "width => Math.abs(document.querySelector('.sheet').offsetWidth / width - 2) < .1"
    tab.wait_for_function(twice, arg=before)
    tab.get_by_role("button", name="Back to the answers").tap()
    expect(tab.locator(".viewer").first).to_be_hidden()
    expect(hits(tab).first).to_be_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def sheet_width(tab):
    return tab.locator(".sheet").first.evaluate("sheet => sheet.offsetWidth")


def test_on_a_phone_the_passage_can_be_read_at_once(url, visit):
    how = {"viewport": PHONE, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    tab = visit(f"{url}?q={QUESTION}&show=bees.pdf&page=1", **how)
    viewer, frame = shown(tab), tab.locator(".frame").first
    assert inside(tab, frame)
    assert PHONE["width"] - 16 < frame.bounding_box()["width"] < PHONE["width"]
    assert tab.locator(".text span", has_text="kilograms").first.bounding_box()["height"] >= 11
    assert sheet_width(tab) > PHONE["width"]
    bar = tab.locator(".controls").first.bounding_box()
    assert bar["height"] < 60  # one row, whose parts are all seen
    assert all(
        inside(tab, part) for part in viewer.locator(".controls :is(button, a, .number)").all() if part.is_visible()
    )
    whole = viewer.get_by_role("button", name="Whole page")
    whole.tap()
    expect(whole).to_have_attribute("aria-pressed", "true")
    assert inside(tab, tab.locator(".sheet").first)
    tab.wait_for_url(re.compile("z=page"))
    tab.reload()
    expect(whole).to_have_attribute("aria-pressed", "true")
    assert inside(tab, tab.locator(".sheet").first)
    whole.tap()
    tab.wait_for_url(lambda address: "z=" not in address)
    assert sheet_width(tab) > PHONE["width"]
    assert inside(tab, frame)
    # print that can be read where the page fits is not enlarged
    tab = visit(f"{url}?show=bees.pdf&page=1", **how)
    shown(tab)
    assert inside(tab, tab.locator(".sheet").first)


# How far each edge of the page is from that of the stage, scrolled as far as it goes: left, top, right, bottom.
EDGES = """() => {
  const stage = document.querySelector(".stage"), sheet = document.querySelector(".sheet"), found = [];
  const outer = stage.getBoundingClientRect(), inner = () => sheet.getBoundingClientRect();
  stage.scrollTo(0, 0);
  found.push(inner().left - outer.left, inner().top - outer.top);
  stage.scrollTo(1e6, 1e6);
  found.push(outer.left + stage.clientWidth - inner().right, outer.top + stage.clientHeight - inner().bottom);
  return found;
}"""


@pytest.mark.parametrize("zoom", ["", "100", "400"])
@pytest.mark.parametrize("view", ["desktop", "beside", "phone"])
def test_a_zoomed_page_can_be_scrolled_to_all_its_edges(url, visit, view, zoom):
    beside = "&beside=bm25" if view == "beside" else ""
    tab = visit(
        f"{url}?q={QUESTION}&show=bees.pdf&page=1&z={zoom}{beside}", viewport=PHONE if view == "phone" else DESKTOP
    )
    shown(tab)
    expect(tab.locator(".frame").first).to_be_visible()
    assert min(tab.evaluate(EDGES)) >= 4  # a little of the ground is seen beside each
    if view == "phone":
        pager = tab.locator(".pager").first.bounding_box()
        sheet = tab.locator(".sheet").first.bounding_box()
        assert sheet["y"] + sheet["height"] <= pager["y"]


STATES = {
    "start": "",
    "found": f"?q={QUESTION}",
    "weak": "?q=stock market",
    "grouped": f"?q={QUESTION}&group_by=document",
    "page": f"?q={QUESTION}&show=bees.pdf&page=1",
    "plain": "?q=letters&show=<i>notes&page=1",
    "beside": f"?q={QUESTION}&beside=bm25",
    "wrong": "?q=honey&where=no",
}
VIEWS = {"desktop": (DESKTOP, "light"), "phone": (PHONE, "light"), "dark": (DESKTOP, "dark")}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("state", STATES)
def test_everybody_can_use_it(url, visit, state, view):
    viewport, scheme = VIEWS[view]
    tab = visit(url + STATES[state], viewport=viewport, color_scheme=scheme)
    tab.wait_for_load_state("networkidle")
    assert found_by_axe(tab) == {}
    assert tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_nobody_is_kept_out_of_the_answers(url, visit):
    tab = visit(f"{url}?q={QUESTION}")
    shown(tab)
    assert found_by_axe(tab) == {}


def found_by_axe(tab):
    """All findings of axe: rule -> the first place."""
    found = Axe().run(tab).response["violations"]
    return {rule["id"]: rule["nodes"][0]["html"] for rule in found}
