import base64
import io
import re

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image

from lensblend.comparison import gallery
from lensblend.comparison.gallery import Cell, Drawing, Gallery, PageImage, Picture, Section, write_gallery
from lensblend.inference.pictures import encode
from lensblend.metrics.fidelity import Psnr

HOSTILE = """"><script>document.title='hacked'</script><img src=x onerror="document.title='hacked'">'&amp;"""


def pixels(height, width, seed=0):
    """A smooth coloured picture, as photos are."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    return (255 * np.stack([y, x, (x + y + seed / 7) % 1], axis=-1)).astype(np.uint8)


def shown(name, scores, labels, size=(48, 64), seed=0):
    maps = [Picture.of_pixels("W0 · photo", pixels(*size)[..., 0])]
    return PageImage(
        name,
        Picture.of_pixels("photo", pixels(*size, seed)),
        Picture.of_pixels("target", pixels(*size, seed + 1)),
        [Picture.of_pixels(label, pixels(*size, seed + 2 + i), "PSNR 20") for i, label in enumerate(labels)],
        {"psnr": scores},
        {labels[0]: maps},
    )


@pytest.fixture
def page(tmp_path):
    """Write a page of two runs and three images, one of each with a hostile name."""
    labels = ["first", HOSTILE]
    images = [
        shown("b", [20.0, 26.0], labels),
        shown(HOSTILE, [float("inf"), 22.0], labels, (300, 400), 3),
        shown("a", [24.0, 23.0], labels, (64, 48), 5),
    ]
    table = [[Cell(""), Cell("PSNR ↑")], [Cell("first"), Cell("22.00", "best")], [Cell(HOSTILE), Cell("21.00")]]
    path = tmp_path / "gallery.html"
    write_gallery(path, HOSTILE, labels, {"psnr": Psnr}, table, images, [HOSTILE], [HOSTILE])
    return path


def test_few_pixels_are_kept_exactly_and_photos_nearly(tmp_path):
    for size, kind, most in (((48, 64), "png", 0), ((300, 400), "jpeg", 4)):
        content, suffix = encode(pixels(*size))
        assert suffix == kind
        with Image.open(io.BytesIO(content)) as image:
            assert np.abs(np.asarray(image).astype(int) - pixels(*size)).mean() <= most


def test_a_picture_knows_its_size_from_its_file(tmp_path):
    content, suffix = encode(pixels(300, 400))
    path = tmp_path / f"0000.{suffix}"
    path.write_bytes(content)
    picture = Picture.of_file("bokeh", path)
    assert (picture.height, picture.width, picture.is_small) == (300, 400, False)
    assert base64.b64decode(picture.source.split(",")[1]) == content


def test_small_pictures_are_enlarged_by_whole_multiples():
    assert Picture.of_pixels("x", pixels(96, 128)).shown_width == 768
    assert Picture.of_pixels("x", pixels(96, 100)).shown_width == 700
    assert Picture.of_pixels("x", pixels(300, 384)).shown_width == 768
    assert Picture.of_pixels("x", pixels(300, 400)).shown_width == 400


def test_names_are_text_and_nothing_is_fetched(page):
    text = page.read_text()
    assert HOSTILE not in text
    assert text.count("<script>") == 2
    outside = re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL)
    assert re.findall(r"(?:src|href)=\"(?!data:)[^\"]*", outside) == []
    assert "sourceMappingURL" not in text


def test_the_page_needs_no_more_than_its_own_pictures(page):
    assert page.read_text().count("data:image/") == 3 * (2 + 2 + 1)


def test_a_section_shows_its_tables_and_pictures_as_text_and_data(tmp_path):
    picture = Picture.of_pixels(HOSTILE, pixels(200, 300))
    table = [[Cell("claim"), Cell("verdict")], [Cell(HOSTILE), Cell("holds", "better")]]
    path = tmp_path / "page.html"
    sections = [Section(HOSTILE, [table], [picture], [HOSTILE])]
    write_gallery(path, "title", ["run"], {}, [[Cell("")]], [], sections=sections)
    text = path.read_text()
    assert HOSTILE not in text
    assert text.count(str(picture.source)) == 1
    assert '<td class="better">holds</td>' in text


def test_a_large_page_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "LARGE", 1000)
    said = []
    images = [shown("a", [20.0], ["run"])]
    write_gallery(
        tmp_path / "page.html", "title", ["run"], {"psnr": Psnr}, [[Cell("")], [Cell("run")]], images, say=said.append
    )
    assert "more than many browsers open gladly" in said[0]


def test_a_page_without_target_weights_or_runs_to_choose_from(tmp_path):
    rows = {"photo": pixels(40, 50), "target": pixels(40, 50), "bokeh": pixels(40, 50)}
    one = Gallery("phase1", {"psnr": Psnr})
    one.add("image", rows, {"psnr": 20.0})
    one.write(tmp_path, "title", {"phase1": {"psnr": 20.0}})
    text = (tmp_path / "gallery.html").read_text()
    assert '<option value="psnr" data-heading="PSNR" data-decimals="2">PSNR ↑</option>' in text
    assert '<th scope="row">phase1</th><td>20.00</td>' in text
    assert "<small>PSNR 20.00</small>" in text
    assert 'id="minus"' not in text
    assert "<details" not in text
    assert (tmp_path / "sheet.png").exists()


@pytest.fixture
def opened(browser, page):
    """The page opened from disk; at the end, nothing was fetched and nothing was complained about."""
    tab = browser.new_page(viewport={"width": 1500, "height": 1000})
    tab.set_default_timeout(60_000)
    requests, complaints = [], []
    tab.on("request", lambda r: requests.append(r.url))
    tab.on("console", lambda m: complaints.append(m.text))
    tab.on("pageerror", lambda e: complaints.append(str(e)))
    tab.goto(page.as_uri())
    yield tab
    assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
    assert complaints == []
    assert tab.title() == HOSTILE
    tab.close()


def order(tab):
    return [heading.evaluate("h => h.firstChild.data.trim()") for heading in tab.locator("section h2").all()]


def test_hostile_names_stay_text(opened):
    assert opened.locator("h1").inner_text() == HOSTILE
    assert order(opened) == ["b", HOSTILE, "a"]
    assert opened.locator("th[scope=row]").nth(1).inner_text() == HOSTILE
    assert opened.locator("section").first.locator("figcaption").nth(3).inner_text().startswith(HOSTILE)
    assert opened.locator("#all-left option").last.inner_text() == HOSTILE
    assert opened.locator("script").count() == 2


def test_images_are_sorted_by_a_score_and_by_a_difference(opened):
    opened.select_option("#of", "0")
    opened.select_option("#metric", "psnr")
    assert order(opened) == ["b", "a", HOSTILE]
    opened.select_option("#direction", "-1")
    assert order(opened) == [HOSTILE, "a", "b"]
    opened.select_option("#of", "1")
    opened.select_option("#minus", "0")
    # 26 - 20, 23 - 24, 22 - infinity.
    assert order(opened) == ["b", "a", HOSTILE]
    assert opened.locator("section h2 small").all_inner_texts() == ["Δ PSNR +6.00", "Δ PSNR -1.00", "Δ PSNR -Infinity"]
    opened.select_option("#metric", "")
    assert order(opened) == ["b", HOSTILE, "a"]


def test_the_divider_follows_mouse_and_keys(opened):
    slider = opened.locator("img-comparison-slider").first
    box = slider.bounding_box()
    assert slider.evaluate("s => s.value") == 50
    opened.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    opened.mouse.down()
    opened.mouse.move(box["x"] + box["width"] / 4, box["y"] + 50, steps=4)
    opened.mouse.up()
    assert slider.evaluate("s => s.value") == pytest.approx(25, abs=1)
    assert slider.get_attribute("aria-valuenow") == "25"
    opened.keyboard.down("ArrowRight")
    # The page's policy forbids the browser's own way of waiting, which evaluates a text.
    while slider.evaluate("s => s.value") < 30:
        opened.wait_for_timeout(50)
    opened.keyboard.up("ArrowRight")


def test_what_the_slider_shows_is_what_was_chosen(opened):
    first = opened.locator("section").first
    sides = "s => [...s.querySelectorAll('img')].map(i => i.src)"
    figures = first.locator(".strip img").evaluate_all("images => images.map(i => i.src)")
    slider = first.locator("img-comparison-slider")
    assert slider.evaluate(sides) == [figures[2], figures[3]]
    opened.select_option("#all-left", "1")
    assert slider.evaluate(sides) == [figures[1], figures[3]]
    first.locator("select.right").select_option("0")
    assert slider.evaluate(sides) == [figures[1], figures[0]]
    first.locator(".strip button").nth(2).click()
    first.locator(".strip button").nth(3).click(modifiers=["Shift"])
    assert slider.evaluate(sides) == [figures[3], figures[2]]
    # The others keep what was chosen for all.
    assert opened.locator("section").nth(1).locator("select.left").input_value() == "1"


def test_pictures_keep_their_proportions(opened):
    for section, ratio in zip(opened.locator("section").all(), (64 / 48, 400 / 300, 48 / 64), strict=True):
        for image in section.locator("img").all():
            if image.is_visible():
                box = image.bounding_box()
                assert box["width"] / box["height"] == pytest.approx(ratio, rel=0.02)
    assert opened.locator("section").first.locator("img").first.evaluate("i => getComputedStyle(i).imageRendering") == (
        "pixelated"
    )


@pytest.fixture
def seeds(browser, tmp_path):
    """A page of four runs, two kernel sets with two seeds each, opened on a phone."""
    labels = [f"{kernels} · seed={seed}" for kernels in ("gaussian_25_45_75", "gaussian_75") for seed in (0, 1)]
    wide = "26.19 ± 0.12 [25.10, 27.30]"
    table = [[Cell(t) for t in ("Δ to gaussian_25_45_75", "seeds", *("PSNR ↑", "SSIM ↑") * 4)]]
    table += [[Cell(name), Cell("2"), *[Cell(wide, "best")] * 8] for name in ("gaussian_25_45_75", "gaussian_75")]
    svg = Markup(
        '<svg viewBox="0 0 520 260" role="img" aria-label="PSNR over epochs"><text x="9" y="20">24</text></svg>'
    )
    drawing = Drawing("PSNR ↑", svg, [(label, Markup('<svg width="28" height="8"></svg>')) for label in labels])
    configuration = [[Cell("")] + [Cell(label) for label in labels], [Cell("kernels.sizes")] + [Cell("25,45,75")] * 4]
    sections = [Section("Configurations", [configuration], [])]
    sections.append(Section("Learning curves", [], [], ["At their sizes."], [drawing, drawing], [table]))
    path = tmp_path / "seeds.html"
    images = [shown("a", [20.0, 26.0, 21.0, 22.0], labels)]
    write_gallery(path, "4 runs", labels, {"psnr": Psnr}, table, images, sections=sections)
    tab = browser.new_page(viewport={"width": 420, "height": 900})
    tab.set_default_timeout(60_000)
    tab.goto(path.as_uri())
    yield tab
    tab.close()


def test_on_a_phone_tables_scroll_and_the_page_does_not(seeds):
    assert seeds.evaluate("document.documentElement.scrollWidth") <= 420
    first = seeds.locator(".scroll").first
    assert first.evaluate("s => s.scrollWidth > s.clientWidth && getComputedStyle(s).overflowX") == "auto"
    seeds.locator("details details summary").click()
    assert seeds.evaluate("document.documentElement.scrollWidth") <= 420
    for drawing in seeds.locator(".drawings figure > svg").all():
        box = drawing.bounding_box()
        assert (box["x"] >= 0, box["x"] + box["width"] <= 420, box["height"] > 150) == (True, True, True)
    assert seeds.get_by_role("img", name="PSNR over epochs").count() == 2


def test_two_seeds_never_look_alike_in_a_chooser(seeds):
    for width in (420, 1400):
        seeds.set_viewport_size({"width": width, "height": 900})
        for chooser in seeds.locator("select").all():
            texts = chooser.locator("option").all_inner_texts()
            assert len(set(texts)) == len(texts)
            # As wide as its longest entry wants it: nothing of a name is cut off.
            wanted = chooser.evaluate(
                "s => { const c = s.cloneNode(true); c.style.cssText = 'position: absolute; max-width: none';"
                " s.after(c); const w = c.offsetWidth; c.remove(); return w; }"
            )
            assert chooser.bounding_box()["width"] >= wanted - 1
            assert chooser.bounding_box()["x"] + chooser.bounding_box()["width"] <= width


def test_weight_maps_open_and_keys_go_from_image_to_image(opened):
    maps = opened.locator("details.weights img").first
    assert not maps.is_visible()
    opened.check("#all-weights")
    assert maps.is_visible()
    for key, index in (("j", 0), ("j", 1), ("k", 0)):
        opened.keyboard.press(key)
        focused = "() => [...document.querySelectorAll('section')].findIndex(s => s.contains(document.activeElement))"
        assert opened.evaluate(focused) == index


def test_a_script_that_is_not_the_pages_own_does_not_run(browser, page, tmp_path):
    other = tmp_path / "other.html"
    injected = "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\"></body>"
    other.write_text(page.read_text().replace("</body>", injected))
    tab = browser.new_page()
    tab.goto(other.as_uri())
    tab.wait_for_timeout(200)
    assert tab.title() == HOSTILE
    tab.close()
