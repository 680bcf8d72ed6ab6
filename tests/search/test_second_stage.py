"""The place for a second stage.  python -m pytest tests/search/test_second_stage.py"""

import pytest
from photos import photo_folder, shape

from caan.search.encoder import Encoder, Source
from caan.search.gallery import Gallery


class ByName:
    """Scores pictures by a number that their tokens hold, and remembers what it was asked."""

    def score(self, sketch, tokens):
        self.asked = sketch, list(tokens)
        return [float(packed) for packed in tokens]


@pytest.fixture
def gallery(tmp_path):
    gallery = Gallery.open(tmp_path / "gallery", Encoder.load(Source("pixels"), "cpu"))
    gallery.add(photo_folder(tmp_path / "photos"), progress=False)
    yield gallery
    gallery.close()


def test_without_tokens_nothing_changes(gallery):
    sketch = shape("circle")
    assert gallery.search(sketch, top_k=5, second_stage=ByName()) == gallery.search(sketch, top_k=5)


def test_the_first_results_are_ordered_anew_in_the_places_that_they_had(gallery):
    sketch, stage = shape("circle"), ByName()
    before = gallery.search(sketch, top_k=6)
    kept = {0: b"1", 2: b"3", 3: b"2", 5: b"9"}  # the last is not among the first four
    gallery.engine.keep_tokens({before[place].content: packed for place, packed in kept.items()})
    after = gallery.search(sketch, top_k=5, second_stage=stage, first=4)
    assert [result.path for result in after] == [before[place].path for place in (2, 1, 3, 0, 4)]
    assert [result.score for result in after] == [3, before[1].score, 2, 1, before[4].score]
    assert [result.rank for result in after] == [1, 2, 3, 4, 5] and after.standing == before.standing
    assert stage.asked == (sketch, [b"1", b"3", b"2"])


def test_a_result_may_come_up_from_below_what_is_shown(gallery):
    before = gallery.search(shape("circle"), top_k=6)
    gallery.engine.keep_tokens({before[place].content: packed for place, packed in {0: b"1", 4: b"2"}.items()})
    after = gallery.search(shape("circle"), top_k=1, second_stage=ByName(), first=6)
    assert [result.path for result in after] == [before[4].path]
