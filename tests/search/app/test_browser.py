"""The page as a person uses it, in headless Chromium.  python -m pytest tests/search/app/test_browser.py"""

import pytest
import tiny
from app_page import LARGE, data_url, drawing, png_header
from browsing import OVERFLOWS, SCREENS, SEARCHED, circle, draw, found, ink, place, settled, shoot, upload, wait_for_change
from PIL import Image
from tiny import encoded

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("screen", SCREENS)
def test_from_the_first_stroke_to_the_explanation(visit, screen):
    page = visit(screen)
    shoot(page, f"{screen}-start")
    assert page.is_visible(".welcome") and not found(page)
    draw(page, circle(), lift=False)
    page.wait_for_selector(SEARCHED)
    first = found(page)
    for x, y in circle(0.6, 0.6, 0.2):
        page.mouse.move(*place(page, x, y))
    second = wait_for_change(page, first)  # the pen is still down
    page.mouse.up()
    assert len(second) > 5 and page.evaluate(OVERFLOWS) == []
    shoot(page, f"{screen}-results")
    page.locator(".result").first.click()
    page.wait_for_selector(".paths li")
    assert "score" in page.inner_text(".said") and page.inner_text(".paths li").endswith((".png", ".jpg"))
    shoot(page, f"{screen}-photo")
    page.click(".why")
    page.wait_for_selector(".pictures:not([hidden])")
    assert page.locator(".pair").count() >= 1 and page.evaluate(OVERFLOWS) == []
    shoot(page, f"{screen}-why")


def test_undo_redo_and_clear(visit):
    page = visit()
    draw(page, circle())
    one, first = ink(page), settled(page)
    draw(page, [(0.1, 0.1), (0.9, 0.9)])
    two, second = ink(page), settled(page)
    assert two > one and second != first
    page.click(".undo")
    assert ink(page) == one and settled(page) == first
    page.keyboard.press("Control+Shift+Z")
    assert ink(page) == two and settled(page) == second
    page.click(".clear")
    page.wait_for_selector("[data-mode=start]")
    assert ink(page) == 0 and not found(page) and page.is_disabled(".clear")
    page.keyboard.press("Control+z")
    assert ink(page) == two and settled(page) == second


def test_the_eraser_takes_ink_away_and_an_empty_pad_is_no_error(visit):
    page = visit()
    draw(page, [(0.3, 0.5), (0.7, 0.5)])
    page.wait_for_selector(SEARCHED)
    page.keyboard.press("e")
    assert page.get_attribute(".eraser", "aria-pressed") == "true"
    for _ in range(12):
        page.keyboard.press("]")
    draw(page, [(0.2, 0.5), (0.8, 0.5)])
    page.wait_for_selector("[data-mode=start]")
    assert ink(page) == 0 and page.inner_text(".words") == ""


def test_keys_lead_through_the_results(visit):
    page = visit()
    page.locator(".examples button").first.focus()
    page.keyboard.press("Enter")
    shown = settled(page)
    page.locator(".result").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.content") == shown[1][0]
    page.keyboard.press("Enter")
    page.wait_for_selector(".paths li")
    name = page.inner_text(".name")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("name => document.querySelector('.said').innerText.startsWith('Number 1 of')", arg=name)
    page.keyboard.press("w")
    page.wait_for_selector(".pictures:not([hidden])")
    page.keyboard.press("Escape")
    page.wait_for_function("first => document.activeElement.dataset.content === first", arg=shown[0][0])
    assert not page.is_visible(".detail")
    page.keyboard.press("?")
    assert page.is_visible(".help")
    shoot(page, "help")


def test_more_like_a_photo_and_back(visit):
    page = visit()
    draw(page, circle())
    before = settled(page)
    page.locator(".result").nth(2).click()
    page.click(".more")
    after = settled(page)
    assert after[0][0] == before[2][0] and float(after[0][1].split()[0]) > 0.99
    assert page.inner_text(".words").startswith("Photos like ")
    page.click(".back")
    assert settled(page) == before


def test_gallery_and_folder_are_chosen(visit):
    page = visit()
    draw(page, circle())
    before = settled(page)
    page.select_option(".folder", index=4)
    part = settled(page)
    assert 1 <= len(part) <= 9 and part != before
    page.select_option(".gallery", "other")
    page.wait_for_function("document.querySelector('.words').innerText.includes('of 9 photos')")


@pytest.mark.parametrize("ink_colour", ["black", "white"])
def test_a_transparent_upload_is_a_drawing(visit, ink_colour):
    page = visit()
    upload(page, encoded(drawing(300, "RGBA", (0, 0, 0, 0), ink_colour)))
    page.wait_for_selector(SEARCHED)
    assert ink(page) > 100 and page.get_attribute(".words", "data-kind") != "error"
    shoot(page, f"transparent-{ink_colour}")


@pytest.mark.parametrize(
    "data, words",
    [
        (lambda: encoded(Image.new("1", (10_000, 10_000), 1)), "100 million pixels; the most is 50 million"),
        (lambda: b"\0" * 31_000_000, "31 MB; the most is 30 MB"),
        (lambda: b"PK\3\4 no picture", "is no picture that this browser can read"),
        (lambda: png_header(50_000, 50_000), "picture"),
    ],
)
def test_an_upload_that_cannot_be_used_is_told_in_words(visit, data, words):
    page = visit()
    upload(page, data(), "holiday.jpg")
    page.wait_for_selector(".note:not([hidden])")
    assert words in page.inner_text(".note") and ink(page) == 0


def test_a_photo_of_five_megabytes_is_scaled_down_in_the_browser(visit):
    page, sent = visit(), []
    page.on("request", lambda asked: sent.append(len(asked.post_data or "")) if "component_server" in asked.url else None)
    picture = tiny.photo((2400, 1800)).effect_spread(40)
    data = encoded(picture)
    assert len(data) > 5_000_000
    upload(page, data)
    page.wait_for_function("document.querySelector('.caan').dataset.mode === 'results'")
    assert ink(page) > 1000 and max(sent) < 5_000_000


def test_pictures_are_dropped_and_pasted(visit):
    page = visit()
    for kind, where in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(
            """async ([kind, where, url]) => {
                const file = new File([await (await fetch(url)).blob()], 'a.png', { type: 'image/png' });
                const data = new DataTransfer();
                data.items.add(file);
                const Kind = kind === 'drop' ? DragEvent : ClipboardEvent;
                document.dispatchEvent(new Kind(kind, { [where]: data, bubbles: true, cancelable: true }));
            }""",
            [kind, where, data_url(drawing(200))],
        )
        page.wait_for_selector(SEARCHED)
        assert ink(page) > 100
        page.click(".clear")
        page.wait_for_selector("[data-mode=start]")


def test_pad_and_tools_are_seen_together_on_low_screens(visit):
    page = visit()
    for width, height in ((853, 533), (1280, 560), (640, 480)):
        page.set_viewport_size({"width": width, "height": height})
        box = page.locator(".left").bounding_box()
        assert box["height"] < height - 12 and page.locator(".pad").bounding_box()["width"] >= 220


def test_the_camera_is_offered_on_phones_alone(visit):
    assert visit("phone").is_visible(".camera") and not visit("desktop").is_visible(".camera")


def test_names_of_files_are_text_not_markup(visit):
    page = visit()
    page.select_option(".folder", index=1)
    draw(page, circle())
    page.wait_for_selector(SEARCHED)
    page.evaluate("name => [...document.querySelectorAll('.result')].find(one => one.title === name)?.click()", LARGE)
    if page.is_visible(".detail"):
        assert page.inner_text(".name") == LARGE
    assert page.locator(".caan i").count() == 0


def test_long_bodies_and_paths_are_refused_by_the_server(visit, address, home):
    page = visit()
    answer = page.request.post(f"{address}/gradio_api/component_server", data={"data": "x" * 5_100_000})
    assert answer.status == 413 and "longer than 5 MB" in answer.text()
    secret = home / "photos" / LARGE
    for path in (f"/gradio_api/file={secret}", f"/file={secret}", "/gradio_api/file=.env", "/gradio_api/file=../../etc/passwd"):
        assert page.request.get(address + path).status == 404
    assert page.request.get(f"{address}/assets/..%2f..%2f..%2frequirements.txt").status in (403, 404)
    assert page.request.post(f"{address}/gradio_api/upload", multipart={"files": "x"}).status == 404
    assert page.request.get(address, headers={"Host": "evil.example"}).status == 403


def test_path_tricks_in_calls_are_answered_in_words(visit, address):
    page = visit()
    tricks = ["../../etc/passwd", "/etc/passwd", "0" * 64, "file:///etc/passwd", "", "\0" * 64]
    config = page.evaluate("window.gradio_config.components.find(one => one.type === 'html').id")
    for trick in tricks:
        body = {"data": {"content": trick}, "component_id": config, "fn_name": "photo", "session_hash": "test"}
        answer = page.request.post(f"{address}/gradio_api/component_server", data=body).json()
        assert set(answer) == {"error"} and "Traceback" not in answer["error"]
    for name in ("get_config", "postprocess", "__init__", "close"):
        body = {"data": {}, "component_id": config, "fn_name": name, "session_hash": "test"}
        assert page.request.post(f"{address}/gradio_api/component_server", data=body).status == 404
