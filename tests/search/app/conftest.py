"""A home of two galleries by a tiny CAAN, the server that the page asks, and the page in headless Chromium."""

import os
import socket

import pytest
import tiny
from app_page import photo_tree
from browsing import CHROMIUM, SCREENS
from trees import CLASSES

from caan.options import AppOptions
from caan.search.gallery import Gallery


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """CAAN_HOME with the galleries "default" and "other"; the folder of the photos is `home / "photos"`."""
    place = tmp_path_factory.mktemp("home")
    model = tiny.caan_model().for_inference()
    model.save_pretrained(place / "model")
    tiny.image_processor().save_pretrained(place / "model")
    root = photo_tree(place / "photos")
    before = os.environ.get("CAAN_HOME")
    os.environ["CAAN_HOME"] = str(place)
    for name, folder in (("default", root), ("other", root / "shapes" / CLASSES[1])):
        with Gallery.open(name, place / "model", device="cpu") as gallery:
            gallery.add(folder, progress=False)
    yield place
    os.environ.pop("CAAN_HOME") if before is None else os.environ.update(CAAN_HOME=before)


@pytest.fixture(scope="session")
def server(home):
    """Answers from both galleries."""
    from caan.search.app.ready import ready_server

    return ready_server(AppOptions(device="cpu"))


@pytest.fixture(scope="module")
def address(server):
    """The page, served on this machine."""
    pytest.importorskip("gradio")
    from caan.search.app.page import launch, make_page

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = make_page(server)
    launch(page, {"127.0.0.1"}, server_name="127.0.0.1", server_port=port, prevent_thread_lock=True)
    yield f"http://127.0.0.1:{port}"
    page.close()


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, address):
    """Opens the page on a kind of screen; at the end nothing has failed in it, and nothing was asked of another host."""
    contexts, troubles = [], []

    def open_page(screen="desktop"):
        context = chromium.new_context(**SCREENS[screen])
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        own = (address, "data:", "blob:")
        page.on("request", lambda asked: troubles.append(asked.url) if not asked.url.startswith(own) else None)
        page.goto(address)
        page.wait_for_function("document.querySelector('.caan .folder')?.options.length > 0")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []
