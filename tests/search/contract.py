"""What holds of every engine of a gallery, by values: a test class of an engine inherits `EngineContract` and says how one is
opened.

    class TestEmbedded(EngineContract):
        @pytest.fixture
        def reopen(self, tmp_path):
            return lambda: EmbeddedEngine(tmp_path / "gallery")

`reopen()` opens the gallery of this test; a second call opens it once more.
"""

import hashlib

import numpy as np
import pytest

from caan.search.engine import UNREADABLE, Content, Folder, Photo, Size

ROOT, OTHER = b"/home/me/photos", b"/mnt/disk"
ODD_NAMES = [
    *(b"50%/a.jpg", b"50_/a.jpg", b"a'b\"c/a.jpg", b"back\\slash/a.jpg", b"line\nfeed/a.jpg", b"\xff\xfe/a.jpg"),
    *("Übung/日本.jpg".encode(), b"%41/a.jpg", b" a /a.jpg", b"*[?]/a.jpg", b"$(x);--/a.jpg", b"\x01\x7f/a.jpg"),
]


def content(name: str, *values: float) -> Content:
    """A picture with a unit vector of 8 numbers, of which the first are given; its hash and thumbnail come from the name."""
    vector = np.zeros(8, dtype=np.float32)
    vector[: len(values)] = values
    hashed = hashlib.sha256(name.encode()).digest()
    return Content(hashed, (vector / np.linalg.norm(vector)).astype(np.float16), b"\xff\xd8" + name.encode())


def photo(path: str | bytes, picture: Content | None, root: bytes = ROOT, size: int = 10, time: int = 1) -> Photo:
    """A file with a picture; without one it could not be read."""
    path = path.encode() if isinstance(path, str) else path
    return Photo(root, path, size, time, picture.hash, "") if picture else Photo(root, path, size, time, UNREADABLE, "broken")


CAT, DOG, OWL, FOX = content("cat", 1), content("dog", 0.8, 0.6), content("owl", 0, 1), content("fox", 0, 0, 1)
QUERY = np.eye(8, dtype=np.float32)[0]


def fill(engine) -> None:
    """Two cats, a dog and an owl, and a file that cannot be read, in folders of two roots."""
    engine.add_root(ROOT)
    engine.add_root(OTHER)
    photos = [photo("a/cat.jpg", CAT), photo("b/cat.jpg", CAT), photo("a/dog.jpg", DOG), photo("owl.jpg", OWL, OTHER)]
    assert engine.put([*photos, photo("a/bad.jpg", None)], [CAT, DOG, OWL]) == []


def found(engine, *arguments) -> list[bytes]:
    """The hashes of the nearest contents."""
    return [number for number, _ in engine.nearest(QUERY, *arguments)]


class EngineContract:
    """Tests of one engine; `reopen` is a fixture of the class that inherits."""

    @pytest.fixture
    def engine(self, reopen):
        engine = reopen()
        yield engine
        engine.close()

    # --------------------------------------------------------------------------------------- what is kept

    def test_a_new_gallery_is_empty(self, engine):
        assert engine.settings() == {} and engine.roots() == [] and list(engine.photos()) == []
        assert engine.known([CAT.hash]) == set() and engine.known([]) == set()
        assert engine.nearest(QUERY, 5) == [] and engine.nearest(QUERY, 5, Folder(ROOT)) == []
        assert engine.files([CAT.hash]) == {CAT.hash: []} and engine.files([]) == {}
        assert engine.thumbnail(CAT.hash) is None and len(engine.sample(5)) == 0 and len(engine.vectors([])) == 0
        assert engine.count() == 0
        assert (engine.size().photos, engine.size().contents, engine.size().width) == (0, 0, 0)
        assert engine.drop([photo("a/cat.jpg", CAT)]) == 0 and engine.sweep() == 0 and engine.verify() == []
        engine.remove_root(ROOT)

    def test_what_is_put_is_there(self, engine):
        fill(engine)
        expected = {photo("a/cat.jpg", CAT), photo("b/cat.jpg", CAT), photo("a/dog.jpg", DOG), photo("owl.jpg", OWL, OTHER)}
        assert set(engine.photos()) == expected | {photo("a/bad.jpg", None)} and len(list(engine.photos())) == 5
        assert engine.known([CAT.hash, FOX.hash, UNREADABLE, OWL.hash]) == {CAT.hash, OWL.hash}
        assert engine.files([CAT.hash, FOX.hash]) == {
            CAT.hash: [photo("a/cat.jpg", CAT), photo("b/cat.jpg", CAT)],
            FOX.hash: [],
        }
        assert engine.files([CAT.hash], Folder(ROOT, b"b")) == {CAT.hash: [photo("b/cat.jpg", CAT)]}
        assert engine.thumbnail(DOG.hash) == b"\xff\xd8dog" and engine.thumbnail(FOX.hash) is None
        assert engine.roots() == [ROOT, OTHER] and engine.verify() == [] and engine.count() == 3

    def test_a_photo_is_replaced_by_root_and_path(self, engine):
        fill(engine)
        new = photo("a/cat.jpg", FOX, size=2**40, time=1_900_000_000_123_456_789)
        assert engine.put([new, photo("a/dog.jpg", None)], [FOX]) == []
        assert set(engine.photos(Folder(ROOT, b"a"))) == {new, photo("a/dog.jpg", None), photo("a/bad.jpg", None)}
        assert engine.put([photo("a/bad.jpg", DOG)]) == []
        assert engine.files([DOG.hash]) == {DOG.hash: [photo("a/bad.jpg", DOG)]}
        assert engine.size().unreadable == 1 and engine.verify() == []

    def test_a_content_that_is_known_is_not_replaced(self, engine):
        fill(engine)
        other = Content(CAT.hash, FOX.vector, b"another thumbnail")
        engine.put([photo("c/cat.jpg", CAT)], [other])
        assert engine.vectors([CAT.hash]).tolist() == [CAT.vector.tolist()]
        assert engine.thumbnail(CAT.hash) == b"\xff\xd8cat"

    def test_a_photo_of_an_unknown_content_is_left_out(self, engine):
        fill(engine)
        assert engine.put([photo("a/fox.jpg", FOX), photo("a/owl.jpg", OWL)]) == [photo("a/fox.jpg", FOX)]
        assert photo("a/owl.jpg", OWL) in set(engine.photos()) and photo("a/fox.jpg", FOX) not in set(engine.photos())
        assert engine.put([photo("a/cat.jpg", FOX)]) == [photo("a/cat.jpg", FOX)]
        assert photo("a/cat.jpg", CAT) in set(engine.photos()) and engine.verify() == []  # as it was

    def test_a_put_that_fails_changes_nothing(self, engine):
        fill(engine)
        before = set(engine.photos())
        broken = Content(b"x" * 32, "no vector", b"")
        with pytest.raises(ValueError):
            engine.put([photo("new.jpg", FOX), photo("a/cat.jpg", OWL)], [FOX, broken])
        assert set(engine.photos()) == before and engine.known([FOX.hash]) == set() and engine.size().contents == 3

    def test_many_are_put_at_once(self, engine):
        engine.add_root(ROOT)
        pictures = [content(f"many {n}", 1, n / 1000) for n in range(1500)]
        photos = [photo(f"{n % 7}/{n}.jpg", picture) for n, picture in enumerate(pictures)]
        assert engine.put(photos, pictures) == []
        assert set(engine.photos()) == set(photos) and engine.size().contents == 1500
        assert engine.known([picture.hash for picture in pictures]) == {picture.hash for picture in pictures}
        assert len(found(engine, 3000)) == 1500
        hashes = [picture.hash for picture in pictures[::-1]]
        assert np.array_equal(engine.vectors(hashes), np.stack([picture.vector for picture in pictures[::-1]]))
        assert {len(files) for files in engine.files(hashes).values()} == {1}
        assert engine.drop(photos[:700]) == 700 and engine.sweep() == 700

    @pytest.mark.parametrize("size", [10, 40_000])
    def test_a_thumbnail_may_be_large(self, engine, size):
        engine.add_root(ROOT)
        data = np.random.default_rng(0).bytes(size)
        engine.put([photo("x.jpg", CAT)], [CAT._replace(thumbnail=data)])
        assert engine.thumbnail(CAT.hash) == data

    def test_settings(self, engine, reopen):
        engine.set_settings({"model": '{"name": "a \\" % é"}', "exclude": "[]"})
        engine.set_settings({"exclude": '["*.png"]'})
        engine.set_settings({})
        assert engine.settings() == {"model": '{"name": "a \\" % é"}', "exclude": '["*.png"]'}

    # ------------------------------------------------------------------------------------------- searching

    def test_the_nearest_come_first(self, engine):
        fill(engine)
        results = engine.nearest(QUERY, 3)
        assert [number for number, _ in results] == [CAT.hash, DOG.hash, OWL.hash]
        assert [score for _, score in results] == pytest.approx([1, 0.8, 0], abs=1e-3)
        assert found(engine, 1) == [CAT.hash] and found(engine, 100) == [CAT.hash, DOG.hash, OWL.hash]

    def test_scores_are_those_of_the_kept_vectors(self, engine):
        engine.add_root(ROOT)
        values = np.random.default_rng(0).normal(size=(50, 8))
        pictures = [content(str(n), *row) for n, row in enumerate(values)]
        engine.put([photo(f"{n}.jpg", picture) for n, picture in enumerate(pictures)], pictures)
        query = values[7].astype(np.float32) / np.float32(np.linalg.norm(values[7]))
        exact = {picture.hash: float(picture.vector.astype(np.float32) @ query) for picture in pictures}
        results = engine.nearest(query, 50)
        assert [number for number, _ in results] == sorted(exact, key=exact.get, reverse=True)
        assert [score for _, score in results] == pytest.approx([exact[number] for number, _ in results], abs=1e-6)

    def test_equal_scores_come_as_they_were_added(self, engine):
        engine.add_root(ROOT)
        same = [content(f"same {n}", 1) for n in range(6)]
        for n, picture in enumerate(same):
            engine.put([photo(f"{n}.jpg", picture)], [picture])
        later = [content(f"later {n}", 1) for n in range(6)]
        engine.put([photo(f"later/{n}.jpg", picture) for n, picture in enumerate(later)], later)
        expected = [picture.hash for picture in same + later]
        assert found(engine, 12) == expected and found(engine, 4) == expected[:4]
        assert found(engine, 3, Folder(ROOT, b"later")) == expected[6:9]

    def test_a_folder_narrows_the_search(self, engine):
        fill(engine)
        assert found(engine, 9, Folder(ROOT)) == [CAT.hash, DOG.hash]
        assert found(engine, 9, Folder(ROOT, b"b")) == [CAT.hash] and found(engine, 9, Folder(OTHER)) == [OWL.hash]
        assert found(engine, 9, Folder(ROOT, b"c")) == [] and found(engine, 9, Folder(b"/nowhere")) == []

    def test_a_search_of_a_folder_follows_what_is_written(self, engine, reopen):
        fill(engine)
        inside = Folder(ROOT, b"b")
        assert found(engine, 9, inside) == [CAT.hash]
        engine.put([photo("b/dog.jpg", DOG)])
        assert found(engine, 9, inside) == [CAT.hash, DOG.hash]
        other = reopen()
        other.put([photo("b/owl.jpg", OWL)])
        other.drop([photo("b/cat.jpg", CAT)])
        other.close()
        assert found(engine, 9, inside) == [DOG.hash, OWL.hash] and found(engine, 9, Folder(OTHER)) == [OWL.hash]

    def test_copies_take_no_place_of_others(self, engine):
        engine.add_root(ROOT)
        copies = [photo(f"a/{n}.jpg", CAT) for n in range(300)]
        engine.put([*copies, photo("a/dog.jpg", DOG), photo("a/owl.jpg", OWL)], [CAT, DOG, OWL])
        assert found(engine, 2) == found(engine, 2, Folder(ROOT, b"a")) == [CAT.hash, DOG.hash]
        assert found(engine, 9, Folder(ROOT, b"a")) == [CAT.hash, DOG.hash, OWL.hash]
        assert len(engine.files([CAT.hash])[CAT.hash]) == 300

    @pytest.mark.parametrize("name", ODD_NAMES, ids=repr)
    def test_names_are_bytes(self, engine, name):
        """No sign is a wild card, and none is lost."""
        engine.add_root(ROOT)
        engine.put([photo(name, CAT), photo("5XX/a.jpg", DOG), photo("plain/a.jpg", OWL)], [CAT, DOG, OWL])
        folder = Folder(ROOT, name.rpartition(b"/")[0])
        assert list(engine.photos(folder)) == [photo(name, CAT)] and found(engine, 9, folder) == [CAT.hash]
        assert engine.files([CAT.hash, DOG.hash], folder) == {CAT.hash: [photo(name, CAT)], DOG.hash: []}
        assert engine.drop([photo(name, CAT)]) == 1 and list(engine.photos(folder)) == []

    def test_roots_are_bytes(self, engine, reopen):
        roots = [b"/a'b\"%_\\\n", b"/\xff", b"/a", b"/a/b", "/é".encode()]
        for n, root in enumerate(roots):
            engine.add_root(root)
            engine.put([photo(f"{n}.jpg", CAT, root)], [CAT])
        for n, root in enumerate(roots):
            assert list(engine.photos(Folder(root))) == [photo(f"{n}.jpg", CAT, root)]
        again = reopen()
        assert again.roots() == roots
        again.close()

    def test_folders_with_a_common_beginning_are_apart(self, engine):
        engine.add_root(ROOT)
        names = ["a/1.jpg", "a b/1.jpg", "a-b/1.jpg", "a.jpg", "a0/1.jpg", "ab/1.jpg", "a/b/1.jpg", "b/a/1.jpg", "A/1.jpg"]
        pictures = [content(name, 1, n) for n, name in enumerate(names)]
        engine.put([photo(name, picture) for name, picture in zip(names, pictures)], pictures)
        inside = {"a/1.jpg", "a/b/1.jpg"}
        assert {one.path.decode() for one in engine.photos(Folder(ROOT, b"a"))} == inside
        assert set(found(engine, 9, Folder(ROOT, b"a"))) == {pictures[names.index(name)].hash for name in inside}

    # ---------------------------------------------------------------------------------------- what goes

    def test_drop_and_sweep(self, engine):
        fill(engine)
        assert engine.drop([photo("b/cat.jpg", None), photo("a/dog.jpg", DOG), photo("none.jpg", CAT)]) == 2
        assert found(engine, 9, Folder(ROOT)) == [CAT.hash]  # the other cat is there
        assert engine.known([CAT.hash, DOG.hash]) == {CAT.hash, DOG.hash}  # until the sweep
        assert engine.sweep() == 1 and engine.sweep() == 0
        assert engine.known([CAT.hash, DOG.hash]) == {CAT.hash} and engine.thumbnail(DOG.hash) is None
        assert found(engine, 9) == [CAT.hash, OWL.hash]
        assert engine.drop(one for one in [photo("a/bad.jpg", None)]) == 1
        assert engine.size().unreadable == 0 and engine.verify() == []

    def test_a_content_that_came_back_is_found_anew(self, engine):
        fill(engine)
        engine.drop([photo("a/dog.jpg", DOG)])
        engine.sweep()
        engine.put([photo("a/dog.jpg", DOG)], [DOG])
        assert found(engine, 9) == [CAT.hash, DOG.hash, OWL.hash] and engine.thumbnail(DOG.hash) == b"\xff\xd8dog"

    def test_contents_without_photos_stay_until_the_sweep(self, engine):
        fill(engine)
        assert engine.put([], [FOX]) == [] and engine.known([FOX.hash]) == {FOX.hash}
        assert engine.put([photo("fox.jpg", FOX)]) == [] and engine.sweep() == 0
        assert engine.files([FOX.hash])[FOX.hash] == [photo("fox.jpg", FOX)]

    def test_move_root(self, engine):
        fill(engine)
        engine.move_root(ROOT, b"/new/place")
        assert engine.roots() == [b"/new/place", OTHER] and list(engine.photos(Folder(ROOT))) == []
        assert engine.files([DOG.hash]) == {DOG.hash: [photo("a/dog.jpg", DOG, b"/new/place")]}
        assert found(engine, 9, Folder(b"/new/place", b"b")) == [CAT.hash]
        for old, new, said in [(ROOT, b"/x", "is no root"), (b"/new/place", OTHER, "is a root")]:
            with pytest.raises(ValueError, match=said):
                engine.move_root(old, new)
        engine.add_root(ROOT)  # its name is free again
        engine.put([photo("a/cat.jpg", CAT)])
        assert list(engine.photos(Folder(ROOT))) == [photo("a/cat.jpg", CAT)]
        assert len(list(engine.photos(Folder(b"/new/place")))) == 4

    def test_remove_root(self, engine):
        fill(engine)
        engine.remove_root(ROOT)
        engine.remove_root(b"/nowhere")
        assert engine.roots() == [OTHER] and list(engine.photos()) == [photo("owl.jpg", OWL, OTHER)]
        assert found(engine, 9, Folder(ROOT)) == [] and engine.sweep() == 2 and found(engine, 9) == [OWL.hash]
        engine.add_root(ROOT)
        assert list(engine.photos(Folder(ROOT))) == [] and engine.roots() == [OTHER, ROOT]

    def test_add_root_twice_is_once(self, engine):
        fill(engine)
        engine.add_root(ROOT)
        assert engine.roots() == [ROOT, OTHER] and len(list(engine.photos(Folder(ROOT)))) == 4

    def test_photos_of_a_root_that_is_gone_are_left_out(self, engine):
        """Another process has removed it meanwhile."""
        fill(engine)
        engine.remove_root(OTHER)
        late = photo("late.jpg", CAT, OTHER)
        assert engine.put([late, photo("in time.jpg", CAT)]) == [late]
        assert photo("in time.jpg", CAT) in set(engine.photos()) and late not in set(engine.photos())

    # ------------------------------------------------------------------------------------- numbers, vectors

    def test_vectors_come_in_the_given_order(self, engine):
        fill(engine)
        vectors = engine.vectors([OWL.hash, CAT.hash, OWL.hash])
        assert vectors.dtype == np.float32
        assert np.array_equal(vectors, np.stack([OWL.vector, CAT.vector, OWL.vector]).astype(np.float32))

    def test_a_content_that_is_gone_has_a_vector_of_zeros(self, engine):
        """Between two calls of a search another process may remove it."""
        fill(engine)
        vectors = engine.vectors([CAT.hash, FOX.hash])
        assert np.array_equal(vectors, np.stack([CAT.vector.astype(np.float32), np.zeros(8, np.float32)]))

    @pytest.mark.parametrize("count", [1, 20, 40, 60, 100])
    def test_a_sample_is_from_all_over_the_gallery(self, engine, count):
        engine.add_root(ROOT)
        pictures = [content(str(n), 1, n / 60) for n in range(60)]
        for start in range(0, 60, 20):
            part = range(start, start + 20)
            engine.put([photo(f"{n}.jpg", pictures[n]) for n in part], pictures[start : start + 20])
        rows = [picture.vector.astype(np.float32).tolist() for picture in pictures]
        sample = engine.sample(count)
        numbers = [rows.index(row) for row in sample.tolist()]
        assert sample.dtype == np.float32 and sample.shape == (min(count, 60), 8) and len(set(numbers)) == len(numbers)
        assert np.array_equal(engine.sample(count), sample)
        if count in (20, 40):  # each third of the gallery, by age, has a share
            assert min(np.bincount(np.array(numbers) // 20, minlength=3)) >= count // 10

    def test_size(self, engine):
        fill(engine)
        size = engine.size()
        assert (size.photos, size.contents, size.unreadable, size.width) == (4, 3, 1, 8)
        assert isinstance(size, Size) and 0 < size.live_bytes <= size.total_bytes

    def test_an_unreadable_file_needs_no_picture_before_it(self, engine):
        engine.add_root(ROOT)
        assert engine.put([photo("bad.jpg", None)]) == []
        assert list(engine.photos()) == [photo("bad.jpg", None)] and engine.verify() == []
        assert (engine.size().photos, engine.size().unreadable, engine.size().width) == (0, 1, 0)
        engine.put([photo("bad.jpg", CAT)], [CAT])
        assert list(engine.photos()) == [photo("bad.jpg", CAT)]

    # ---------------------------------------------------------------------------------- several at once

    def test_reopening_keeps_everything(self, engine, reopen):
        fill(engine)
        engine.set_settings({"model": "{}"})
        before = (
            set(engine.photos()),
            engine.roots(),
            engine.nearest(QUERY, 9),
            engine.sample(9).tolist(),
            engine.size().contents,
        )
        engine.close()
        again = reopen()
        assert before == (set(again.photos()), again.roots(), again.nearest(QUERY, 9), again.sample(9).tolist(), 3)
        assert again.settings() == {"model": "{}"} and again.thumbnail(CAT.hash) == b"\xff\xd8cat" and again.verify() == []
        again.close()

    def test_two_instances_see_each_others_writes(self, engine, reopen):
        other = reopen()
        assert other.nearest(QUERY, 9) == []  # it was open before there was anything
        fill(engine)
        assert set(other.photos()) == set(engine.photos()) and other.nearest(QUERY, 9) == engine.nearest(QUERY, 9)
        other.put([photo("fox.jpg", FOX)], [FOX])
        other.drop([photo("a/cat.jpg", CAT)])
        other.move_root(OTHER, b"/moved")
        other.set_settings({"model": "1"})
        assert found(engine, 9) == [CAT.hash, DOG.hash, OWL.hash, FOX.hash] and engine.settings() == {"model": "1"}
        assert engine.files([CAT.hash, OWL.hash]) == {
            CAT.hash: [photo("b/cat.jpg", CAT)],
            OWL.hash: [photo("owl.jpg", OWL, b"/moved")],
        }
        engine.remove_root(ROOT)
        assert engine.sweep() == 3 and found(other, 9) == [OWL.hash]
        other.close()

    def test_photos_may_change_while_they_are_read(self, engine):
        fill(engine)
        for one in engine.photos():
            engine.drop([one])
        assert list(engine.photos()) == []

    def test_a_removed_gallery_is_gone(self, reopen):
        engine = reopen()
        fill(engine)
        engine.remove()
        again = reopen()
        assert list(again.photos()) == [] and again.roots() == [] and again.nearest(QUERY, 5) == []
        again.close()
