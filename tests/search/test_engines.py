"""The contract of engines (`contract.py`) on each of them, and what one of them alone promises.

Milvus is tested where its client and Milvus Lite are installed: by a file, and by `milvus-lite server` over TCP.

pytest tests/search/test_engines.py
"""

import os
import socket
import subprocess
import sys
import time

import pytest
from contract import CAT, DOG, FOX, OTHER, OWL, EngineContract, fill, photo
from tiny import caan_model, image_processor
from trees import draw_photo, draw_sketch

from caan.search.embedded import EmbeddedEngine
from caan.search.encoder import Encoder, Source
from caan.search.gallery import Gallery


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a Milvus Lite server, a process of its own."""
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    port, folder = free_port(), tmp_path_factory.mktemp("milvus")
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", folder, "--host", "127.0.0.1", "--port", str(port)]
    with open(folder.parent / "milvus.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(600):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def milvus(uri: str):
    from caan.search.milvus import MilvusEngine

    return MilvusEngine(uri)


class TestEmbedded(EngineContract):
    @pytest.fixture
    def reopen(self, tmp_path):
        return lambda: EmbeddedEngine(tmp_path / "gallery")

    def test_tokens_are_kept_with_their_content(self, engine, reopen):
        fill(engine)
        assert engine.tokens([CAT.hash, FOX.hash]) == [None, None] and engine.tokens([]) == []
        engine.keep_tokens({CAT.hash: b"old", OWL.hash: b"owl", FOX.hash: b"of no content"})
        engine.keep_tokens({CAT.hash: b"cat"})
        other = reopen()
        assert other.tokens([FOX.hash, OWL.hash, CAT.hash, DOG.hash]) == [None, b"owl", b"cat", None]
        other.drop([photo("owl.jpg", OWL, OTHER)])
        other.sweep()
        other.close()
        engine.put([photo("owl.jpg", OWL, OTHER)], [OWL])
        assert engine.tokens([OWL.hash, CAT.hash]) == [None, b"cat"] and engine.verify() == []


class TestMilvusFile(EngineContract):
    """Collections are of one file, made anew for each test: starting Milvus Lite takes a second."""

    @pytest.fixture(scope="class")
    def file(self, tmp_path_factory):
        pytest.importorskip("pymilvus")
        pytest.importorskip("milvus_lite")
        return tmp_path_factory.mktemp("lite") / "photos.db"

    @pytest.fixture
    def reopen(self, file, request):
        number = abs(hash(request.node.name))
        return lambda: milvus(f"milvus+file://{file}/test_{number}")


@pytest.mark.slow
class TestMilvusServer(EngineContract):
    @pytest.fixture
    def reopen(self, server, request):
        number = abs(hash(request.node.name))
        return lambda: milvus(f"milvus://{server}/test_{number}")


@pytest.fixture
def folder(tmp_path):
    """60 photos of shapes in two folders, and a file that is no picture."""
    for n in range(60):
        path = tmp_path / "photos" / "ab"[n % 2] / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_photo(("arch", "bar", "frame")[n % 3], n).save(path)
    (tmp_path / "photos" / "a" / "bad.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def answers(gallery: Gallery, folder, under: str | None = None) -> list[tuple]:
    """What a search finds: path below the folder, score, copies."""
    found = gallery.search(draw_sketch("frame", 1), top_k=10, under=None if under is None else folder / under)
    return [(os.path.relpath(one.path, folder), round(one.score, 5), len(one.copies)) for one in found]


def life_of(uri: str, folder) -> list:
    """Photos come, change and go, with two reading processes; what a search says after each."""
    encoder = Encoder(caan_model(), image_processor(), Source("org/tiny"))
    with Gallery.open(uri, encoder) as gallery:
        options = {"progress": False, "batch_size": 8, "num_workers": 2}
        (first,) = gallery.add(folder, **options)
        seen = [first.encoded, len(first.problems), answers(gallery, folder), answers(gallery, folder, "b")]
        os.rename(folder / "b" / "1.png", folder / "a" / "moved.png")
        os.remove(folder / "a" / "0.png")
        (second,) = gallery.refresh(**options)
        seen += [second.encoded, second.known, second.removed, second.unchanged, answers(gallery, folder, "a")]
        os.rename(folder / "a" / "moved.png", folder / "b" / "1.png")
        draw_photo("arch", 0).save(folder / "a" / "0.png")
        return [*seen, gallery.verify(), gallery.info().photos]


@pytest.mark.parametrize("place", ["file", pytest.param("server", marks=pytest.mark.slow)])
def test_a_gallery_is_the_same_wherever_it_is_kept(place, folder, tmp_path, request):
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    uri = f"milvus+file://{tmp_path}/x.db/shots"
    if place == "server":
        uri = f"milvus://{request.getfixturevalue('server')}/shots"
    embedded = life_of(str(tmp_path / "gallery"), folder)
    assert life_of(uri, folder) == embedded
    assert embedded[:2] == [60, 1] and embedded[4:8] == [0, 1, 2, 59] and embedded[-2:] == [[], 59]
