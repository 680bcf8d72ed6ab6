"""A task of the type of mteb's SketchyI2IRetrieval, of a few drawn shapes: no network."""

from datasets import Dataset, Features, Image, Value
from mteb import get_task
from mteb.abstasks.retrieval import AbsTaskRetrieval
from trees import CLASSES, draw_photo, draw_sketch

ASKED = CLASSES[: len(CLASSES) // 2]


def pictures(rows: dict) -> Dataset:
    """id -> picture, a file's bytes or what `datasets` encodes, as a table of mteb."""
    columns = {"id": list(rows), "image": list(rows.values())}
    return Dataset.from_dict(columns, features=Features({"id": Value("string"), "image": Image()}))


class ShapesI2IRetrieval(AbsTaskRetrieval):
    """Two sketches and three photos a class; as in the true task, some photos are relevant to no sketch."""

    metadata = get_task("SketchyI2IRetrieval").metadata.model_copy(update={"name": "ShapesI2IRetrieval"})
    sketches = {f"q-{name}-{i}": draw_sketch(name, i) for name in ASKED for i in range(2)}
    photos = {f"c-{name}-{i}": draw_photo(name, i) for name in CLASSES for i in range(3)}

    def load_data(self, num_proc: int | None = None, **options) -> None:
        """The tables of the one split."""
        relevant = {sketch: {photo: 1 for photo in self.photos if photo[2:-2] == sketch[2:-2]} for sketch in self.sketches}
        tables = {"queries": pictures(self.sketches), "corpus": pictures(self.photos)}
        self.dataset = {"default": {"test": {**tables, "relevant_docs": relevant, "top_ranked": None}}}
        self.data_loaded = True
