"""What Milvus alone can do wrong: addresses, a server that is not there, a kill between two writes, somebody else's collection.

pytest tests/search/test_milvus.py
"""

import socket
import sys

import numpy as np
import pytest
from contract import CAT, DOG, FOX, OTHER, OWL, QUERY, ROOT, fill, found, photo

from caan.search.engine import Folder
from caan.search.milvus import MilvusEngine
from caan.search.milvus_address import Address, checked


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    return tmp_path_factory.mktemp("lite") / "photos.db"


@pytest.fixture
def uri(file, request):
    return f"milvus+file://{file}/kill_{abs(hash(request.node.name))}"


# ------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "uri, expected",
    [
        ("milvus://box:1234/shots", Address("milvus://box:1234/shots", "http://box:1234", "shots")),
        ("milvus://box/shots", Address("milvus://box/shots", "http://box:19530", "shots")),
        ("milvus://me:p%40ss@box/shots?tls=1", Address("milvus://box/shots", "https://box:19530", "shots", "me:p@ss")),
        (
            "milvus://box/shots?replicas=2&shards=4&index=hnsw&timeout=5",
            Address("milvus://box/shots", "http://box:19530", "shots", "", "HNSW", 2, 4, 5),
        ),
        ("milvus+file:///data/my photos.db/a_1", Address("milvus+file:///data/my photos.db/a_1", "/data/my photos.db", "a_1")),
    ],
)
def test_addresses(uri, expected, monkeypatch):
    monkeypatch.delenv("CAAN_MILVUS_TOKEN", raising=False)
    assert Address.parse(uri) == expected
    assert "p%40ss" not in expected.uri and "p@ss" not in Address.parse(uri).uri


@pytest.mark.parametrize(
    "uri, said",
    [
        ("milvus://box", "is no address of a gallery on Milvus"),
        ("milvus:///shots", "is no address"),
        ("milvus://box/my-shots", "a NAME of letters, digits and underscores"),
        ("milvus://box/a/b", "is no address"),
        ("milvus://box:port/a", "is no address"),
        ("milvus://box:99999/a", "is no address"),
        ("milvus+file:///data/photos/shots", "is no address"),
        ("milvus+file://data/photos.db/shots", "is no address"),
        ("milvus://box/shots?replica=2", "'replica', did you mean 'replicas'?"),
        ("milvus://box/shots?replicas=0", "replicas must be a whole number of at least 1, not '0'"),
        ("milvus://box/shots?index=hsnw", "did you mean 'HNSW'?"),
    ],
)
def test_incomplete_addresses_are_refused(uri, said):
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        Address.parse(uri)


def test_the_token_of_the_environment_goes_first(monkeypatch):
    monkeypatch.setenv("CAAN_MILVUS_TOKEN", "secret")
    assert Address.parse("milvus://me:word@box/shots").token == "secret"


def test_without_the_client_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[milvus\]" in the repository'):
        MilvusEngine("milvus://127.0.0.1/shots")


# ---------------------------------------------------------------------------------------------------- errors


def test_a_server_that_is_down_is_named(file):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with pytest.raises(OSError, match=f"Milvus does not answer at milvus://127.0.0.1:{port}/shots: is the server running"):
        MilvusEngine(f"milvus://me:secret@127.0.0.1:{port}/shots?timeout=1")


@pytest.mark.parametrize(
    "message, kind, said",
    [
        ("unauthenticated: auth check failure, please check username and password", PermissionError, "set CAAN_MILVUS_TOKEN"),
        ("PrivilegeSearch: permission deny to ann in the `default` database", PermissionError, "set CAAN_MILVUS_TOKEN"),
        ("context deadline exceeded", OSError, "does not answer at milvus://box/shots"),
        ("quota exceeded[reason=disk]", OSError, "Milvus refused it at milvus://box/shots: quota exceeded"),
    ],
)
def test_errors_name_the_gallery_and_the_cure(file, message, kind, said):
    from pymilvus.exceptions import MilvusException

    with pytest.raises(kind, match=said), checked(Address.parse("milvus://box/shots")):
        raise MilvusException(1, message)


def test_a_gallery_that_is_not_there_is_not_made(uri, file, tmp_path):
    MilvusEngine(f"milvus+file://{file}/other").close()
    for place in (uri, f"milvus+file://{tmp_path}/none.db/shots"):
        with pytest.raises(ValueError, match="There is no gallery at milvus.*caan index FOLDER --gallery"):
            MilvusEngine(place, create=False)
    assert not (tmp_path / "none.db").exists()


def test_somebody_elses_collection_is_left_alone(uri, file):
    from pymilvus import MilvusClient

    client, name = MilvusClient(str(file)), uri.rpartition("/")[2]
    client.create_collection(name, dimension=4)
    with pytest.raises(ValueError, match="is a collection of another program: give another name"):
        MilvusEngine(uri)
    assert client.has_collection(name) and not client.has_collection(f"{name}_notes")


def test_a_later_format_is_refused(uri):
    engine = MilvusEngine(uri)
    engine._tables.write_notes({"caan": "2"})
    with pytest.raises(ValueError, match="written by a later version of caan"):
        MilvusEngine(uri)


def test_vectors_of_another_width_are_refused(uri):
    engine = MilvusEngine(uri)
    fill(engine)
    wide = FOX._replace(vector=np.eye(16, dtype=np.float16)[0])
    with pytest.raises(ValueError, match="another width"):
        engine.put([photo("fox.jpg", FOX)], [wide])
    assert engine.known([FOX.hash]) == set() and engine.size().photos == 4


# ----------------------------------------------------------------------------------------------------- kills


class Killed(BaseException):
    """The process ends here."""


def kill_at(engine, number: int) -> None:
    """The engine's write `number` and all after it do not happen."""
    writes = iter(range(1000))

    def dying(call):
        def write(*args, **kwargs):
            if next(writes) >= number:
                raise Killed
            return call(*args, **kwargs)

        return write

    for name in ("upsert", "delete", "create_collection", "create_index"):
        setattr(engine._tables.client, name, dying(getattr(engine._tables.client, name)))


def change(engine) -> None:
    """What a refresh does: a new picture, one that changed, one that cannot be read any more, one that can, one that went."""
    photos = [photo("fox.jpg", FOX), photo("a/cat.jpg", FOX, time=2), photo("a/dog.jpg", None), photo("a/bad.jpg", OWL)]
    engine.put(photos, [FOX])
    engine.drop([photo("b/cat.jpg", CAT)])
    engine.remove_root(OTHER)
    engine.sweep()


AFTER = {photo("fox.jpg", FOX), photo("a/cat.jpg", FOX, time=2), photo("a/dog.jpg", None), photo("a/bad.jpg", OWL)}


def refresh(engine) -> None:
    """As `Refresh`: what is not there as it should be is put again, a content with it where it is not known."""
    missing = AFTER - set(engine.photos())
    contents = [one for one in (FOX, OWL) if one.hash not in engine.known([one.hash])]
    engine.put(sorted(missing), contents)
    engine.drop(set(engine.photos()) - AFTER)
    engine.remove_root(OTHER)
    engine.sweep()


@pytest.mark.slow
def test_what_a_kill_leaves_is_completed(file):
    for number in range(100):
        place = f"milvus+file://{file}/killed_{number}"
        fill(MilvusEngine(place))
        dying = MilvusEngine(place)
        kill_at(dying, number)
        try:
            change(dying)
        except Killed:
            finished = False
        else:
            finished = True
        again = MilvusEngine(place)
        assert again.nearest(QUERY, 9) and len(again.files([FOX.hash])) == 1  # it can be searched as it is
        refresh(again)
        refresh(again)  # photos that a sweep removed are new to the second
        assert set(again.photos()) == AFTER and again.verify() == [] and again.roots() == [ROOT]
        assert again.known([one.hash for one in (CAT, DOG, OWL, FOX)]) == {FOX.hash, OWL.hash}
        assert set(found(again, 9, Folder(ROOT, b"a"))) == {OWL.hash, FOX.hash}
        again.remove()
        if finished:
            break
    assert 8 <= number < 30


@pytest.mark.slow
def test_a_gallery_whose_first_put_was_killed(file):
    for number in range(20):
        place = f"milvus+file://{file}/young_{number}"
        dying = MilvusEngine(place)
        dying.add_root(ROOT)
        kill_at(dying, number)
        try:
            dying.put([photo("cat.jpg", CAT)], [CAT])
            finished = True
        except Killed:
            finished = False
        again = MilvusEngine(place)
        assert again.put([photo("cat.jpg", CAT)], [CAT]) == [] and found(again, 9) == [CAT.hash] and again.verify() == []
        again.remove()
        if finished:
            break
    assert number >= 6


def test_a_sweep_and_a_put_that_cross_leave_no_hollow_photo(uri, monkeypatch):
    """One takes a content away, the other gives a photo to it: whichever looks last sees it."""
    from caan.search import milvus_repair

    engine, other = MilvusEngine(uri), MilvusEngine(uri)
    fill(engine)
    engine.put([], [FOX])
    look = milvus_repair.look

    def late(*args):
        state = look(*args)
        assert other.put([photo("fox.jpg", FOX)]) == []  # the content is there still
        return state

    monkeypatch.setattr(milvus_repair, "look", late)
    assert engine.sweep() == 1
    monkeypatch.undo()
    assert photo("fox.jpg", FOX) not in set(engine.photos()) and engine.verify() == []

    engine.put([], [FOX])
    upsert = other._tables.upsert

    def slow(name, rows):
        rows = list(rows)
        if name == other._tables.photos:
            engine.sweep()
        upsert(name, rows)

    monkeypatch.setattr(other._tables, "upsert", slow)
    assert other.put([photo("fox.jpg", FOX)]) == [photo("fox.jpg", FOX)]
    assert photo("fox.jpg", FOX) not in set(engine.photos()) and engine.verify() == []


def test_verify_names_what_a_kill_left(uri):
    engine = MilvusEngine(uri)
    fill(engine)
    tables = engine._tables
    tables.delete(tables.contents, [DOG.hash.hex()])
    assert engine.verify() == ["1 photos have lost their picture (the next caan index reads them again)"]
    engine.sweep()
    assert engine.verify() == [] and photo("a/dog.jpg", DOG) not in set(engine.photos())
    tables.delete(tables.notes, [f"root/{engine._notes.roots()[OTHER]}"])
    assert engine.verify() == ["1 photos have lost their folder (the next caan index removes them)"]
    engine.sweep()
    assert engine.verify() == [] and engine.size().photos == 2
