"""What goes wrong while the page is open, in headless Chromium.  python -m pytest tests/search/app/test_browser_troubles.py"""

import pytest
from app_page import drawing
from browsing import OVERFLOWS, SEARCHED, circle, draw, found, ink, place, settled, upload, wait_for_change
from PIL import Image
from tiny import encoded

pytestmark = pytest.mark.browser
DROP = """([texts, files]) => {
    const data = new DataTransfer();
    for (const text of texts) data.setData(text, "http://evil.example/");
    for (const [name, type, bytes] of files) data.items.add(new File([new Uint8Array(bytes)], name, { type }));
    const event = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
    document.querySelector(".welcome").dispatchEvent(event);
    return event.defaultPrevented;
}"""


def wait_for_words(page, words: str):
    page.wait_for_function("words => document.querySelector('.words').innerText.includes(words)", arg=words)


def test_a_server_that_is_gone_is_told_and_found_again(visit):
    page = visit()
    draw(page, circle())
    before = settled(page)
    page.context.set_offline(True)
    draw(page, [(0.1, 0.1), (0.9, 0.9)])
    wait_for_words(page, "The server does not answer")
    assert found(page) == before and ink(page) > 0
    page.context.set_offline(False)
    wait_for_words(page, "nearest of")  # nothing was drawn
    assert settled(page) != before


@pytest.mark.parametrize("status, words", [(401, "log in in another tab"), (200, "refused this request")])
def test_a_refused_request_is_told_and_the_next_one_answered(visit, status, words):
    page = visit()
    page.route("**/component_server/", lambda route: route.fulfill(status=413, body="no"))
    page.route("**/login_check", lambda route: route.fulfill(status=status, body="null"))
    draw(page, circle())
    wait_for_words(page, words)
    page.unroute("**/component_server/")
    draw(page, [(0.1, 0.1), (0.9, 0.9)])
    assert len(settled(page)) > 5


def test_an_answer_that_is_no_answer_does_not_stop_the_page(visit):
    page = visit()
    page.route("**/component_server/", lambda route: route.fulfill(status=200, json={"results": None}))
    draw(page, circle())
    wait_for_words(page, "Something went wrong on this page")
    page.unroute("**/component_server/")
    draw(page, [(0.1, 0.1), (0.9, 0.9)])
    assert len(settled(page)) > 5


def test_another_gallery_shows_nothing_of_the_one_before(visit):
    page = visit()
    draw(page, circle())
    settled(page)
    page.evaluate("document.querySelector('.gallery').append(new Option('gone', 'gone'))")
    page.select_option(".gallery", "gone")
    wait_for_words(page, "There is no such gallery any more")
    assert not found(page) and page.locator(".folder option").all_inner_texts() == ["All folders"]
    page.select_option(".gallery", "other")
    wait_for_words(page, "of 9 photos")
    assert found(page)


def test_what_is_nearest_in_a_folder_is_not_said_of_the_gallery(visit):
    page = visit()
    draw(page, circle())
    settled(page)
    page.select_option(".folder", index=1)
    wait_for_words(page, "nearest in this folder")


def test_an_open_photo_stays_the_one_that_was_opened(visit):
    page = visit()
    draw(page, circle())
    settled(page)
    page.locator(".result").nth(3).click()
    page.wait_for_selector(".paths li")
    opened, path = found(page)[3][0], page.inner_text(".paths li")
    other = 3 if "/shapes/bar/" in path else 4  # a folder without it
    before = found(page)
    choose = "row => { const all = document.querySelector('.folder'); all.selectedIndex = row; "
    page.evaluate(choose + "all.dispatchEvent(new Event('change')); }", other)  # as a late answer would come
    wait_for_change(page, before)
    assert opened not in [content for content, _ in settled(page)]
    assert page.inner_text(".paths li") == path
    page.click(".more")
    wait_for_words(page, "Photos like " + path.rpartition("/")[2])


def test_the_way_back_closes_a_photo_and_stays_on_the_page(visit, address):
    page = visit("phone")
    draw(page, circle())
    before = settled(page)
    for _ in range(2):
        page.locator(".result").first.click()
        page.wait_for_selector(".detail[open]")
        page.go_back()
        page.wait_for_selector(".detail", state="hidden")
    assert page.url.rstrip("/") == address and found(page) == before
    page.locator(".result").first.click()
    page.click(".detail .close")
    page.wait_for_function("!history.state?.dialog")  # and leaves no step behind


def test_links_and_text_that_are_dropped_do_not_lead_away(visit, address):
    page = visit()
    for texts in (["text/uri-list", "text/html"], ["text/plain"]):
        assert page.evaluate(DROP, [texts, []]) is True
        assert "Only files can be dropped" in page.inner_text(".note")
    assert page.url.rstrip("/") == address


def test_of_several_dropped_files_the_first_picture_is_taken(visit):
    page = visit()
    files = [["a.txt", "text/plain", [104]], ["b.png", "image/png", list(encoded(drawing(200)))]]
    page.evaluate(DROP, [[], files])
    page.wait_for_selector(SEARCHED)
    assert ink(page) > 100 and not page.is_visible(".note")


def test_a_blank_picture_is_told_in_words(visit):
    page = visit()
    upload(page, encoded(Image.new("RGB", (100, 100), "white")))
    page.wait_for_selector(".note:not([hidden])")
    assert "nothing in this picture" in page.inner_text(".note") and not found(page)


def test_a_stroke_whose_end_is_not_told_does_not_stop_the_pen(visit):
    page = visit()
    page.evaluate(
        """() => {
            const pad = document.querySelector(".pad"), box = pad.getBoundingClientRect(), set = pad.setPointerCapture;
            const at = { pointerId: 1, clientX: box.left + 50, clientY: box.top + 50, bubbles: true };
            pad.setPointerCapture = () => {};
            for (const kind of ["pointerdown", "lostpointercapture"]) pad.dispatchEvent(new PointerEvent(kind, at));
            pad.setPointerCapture = set;
        }"""
    )
    first = ink(page)
    draw(page, circle())
    assert ink(page) > 5 * first > 0
    page.click(".undo")
    assert ink(page) == first


def test_a_stroke_goes_on_while_the_window_changes_and_ends_outside(visit):
    page = visit()
    draw(page, [(0.2, 0.2), (0.4, 0.4)], lift=False)
    page.set_viewport_size({"width": 700, "height": 800})
    page.mouse.move(*place(page, 0.8, 0.8))
    page.mouse.move(699, 799)
    page.mouse.up()
    assert settled(page) and page.is_enabled(".undo")
    page.click(".undo")
    assert ink(page) == 0 and page.is_disabled(".undo")


def test_a_path_is_copied_or_selected_where_the_browser_lends_no_clipboard(visit):
    page = visit()
    draw(page, circle())
    settled(page)
    page.locator(".result").first.click()
    page.wait_for_selector(".paths li")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined, configurable: true })")
    page.click(".copy")
    path = page.inner_text(".paths li")
    assert page.evaluate("getSelection().toString()") == path and "Ctrl+C" in page.inner_text(".copy")
    lent = "{ writeText: async (text) => { window.copied = text; } }"
    page.evaluate(f"Object.defineProperty(navigator, 'clipboard', {{ value: {lent} }})")
    page.click(".copy")
    page.wait_for_function("document.querySelector('.copy').innerText === 'Copied'")
    assert page.evaluate("window.copied") == path


def test_buttons_have_the_ground_that_the_page_gives_them(visit):
    """gradio has a rule for all buttons, which comes later."""
    page = visit()
    ground = "name => getComputedStyle(document.querySelector(name)).backgroundColor"
    grounds = [page.evaluate(ground, name) for name in (".upload", ".gallery")]
    assert grounds == ["rgb(255, 255, 255)"] * 2


def test_a_pen_leaves_no_ring_of_the_keyboard_on_the_pad(visit):
    page = visit()
    draw(page, circle())
    assert page.evaluate("document.activeElement.className") == "pad"
    assert not page.evaluate("document.activeElement.matches(':focus-visible')")


def test_the_hint_names_what_the_device_has(visit):
    shown = ".hint:visible"
    assert visit("phone").inner_text(shown) == "Draw here, or choose or photograph a sketch"
    page = visit()
    assert page.inner_text(shown) == "Draw here, or drop, paste or choose a picture of a sketch"
    draw(page, circle())
    assert page.locator(shown).count() == 0


def test_two_pages_of_one_server_do_not_disturb_each_other(visit):
    one, two = visit(), visit()
    two.select_option(".gallery", "other")
    for page in (one, two):
        draw(page, circle())
    wait_for_words(two, "of 9 photos")
    assert settled(one) and "of 65 photos" in one.inner_text(".words")


def test_names_of_all_kinds_are_shown_as_text(visit):
    """What a server could answer of files whose names are hostile, long, or read from the right."""
    page = visit()
    names = [
        "<img src=x onerror=window.hit=1>",
        "\u05e9\u05dc\u05d5\u05dd.jpg",
        "long " * 50,
        "x" * 255,
        "&lt;b&gt;",
        "' onclick='x",
    ]

    def rename(route):
        answer = route.fetch().json()
        for result, name in zip(answer.get("results", []), names):
            result["name"] = name
        if "paths" in answer:
            answer["paths"] = ["/photos/" + name for name in names]
        route.fulfill(json=answer)

    page.route("**/component_server/", rename)
    draw(page, circle())
    settled(page)
    for row, name in enumerate(names[: len(found(page))]):
        page.locator(".result").nth(row).click()
        page.wait_for_selector(".paths li")
        assert page.text_content(".name") == name and page.evaluate(OVERFLOWS) == []
        assert page.locator(".paths li").all_text_contents() == ["/photos/" + text for text in names]
        page.keyboard.press("Escape")
        page.wait_for_selector(".detail", state="hidden")
    assert page.evaluate("window.hit === undefined") and page.locator(".caan .paths img").count() == 0
