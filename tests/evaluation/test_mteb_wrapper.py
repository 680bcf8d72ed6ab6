"""A CAAN in mteb, on a small task of the type of its SketchyI2IRetrieval.

python -m pytest tests/evaluation/test_mteb_wrapper.py
"""

import sys
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from tiny import HIDDEN_SIZE, caan_model, encoded, image_processor, processor, sketch

from caan.evaluation.mteb_wrapper import MtebEncoder
from caan.evaluation.retrievers import PIXELS, Retriever, load_retriever
from caan.evaluation.weights import weights_fingerprint
from pipeline_caan import embed_images

mteb = pytest.importorskip("mteb")

from mteb.models import EncoderProtocol  # noqa: E402
from mteb.types import PromptType  # noqa: E402
from mteb_task import ShapesI2IRetrieval, pictures  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "shapes"
    caan_model(whitening=0.5).save_pretrained(folder)
    processor().save_pretrained(folder)
    return folder


@pytest.fixture
def encoder() -> MtebEncoder:
    return MtebEncoder(Retriever("mine", caan_model(), image_processor()), device="cpu")


def loader(rows: dict) -> SimpleNamespace:
    """What of a DataLoader of mteb is looked at."""
    return SimpleNamespace(dataset=pictures(rows))


def encode(encoder, rows: dict, prompt_type=None, **options) -> torch.Tensor:
    meta = SimpleNamespace(name="SomeTask")
    return encoder.encode(
        loader(rows), task_metadata=meta, hf_split="test", hf_subset="default", prompt_type=prompt_type, **options
    )


def scores_of(model) -> dict:
    result = mteb.evaluate(model, ShapesI2IRetrieval(), cache=None, show_progress_bar=False)
    return result.task_results[0].scores["test"][0]


def expected_scores(model, process) -> dict:
    """Hit rate and precision by sorting cosines."""
    task = ShapesI2IRetrieval
    sketches = embed_images(model, process, list(task.sketches.values()), "sketch", progress=False)
    photos = embed_images(model, process, list(task.photos.values()), "photo", progress=False)
    ranks = (sketches @ photos.T).argsort(dim=1, descending=True)
    names = list(task.photos)
    hits = [[names[i][2:-2] == query[2:-2] for i in row] for query, row in zip(task.sketches, ranks.tolist())]
    count = len(hits)
    return {f"hit_rate_at_{k}": sum(any(row[:k]) for row in hits) / count for k in (1, 3, 5)} | {
        f"precision_at_{k}": sum(sum(row[:k]) for row in hits) / k / count for k in (1, 3, 5)
    }


def test_a_caan_is_measured_on_a_task_of_that_type(folder):
    scores = scores_of(MtebEncoder(str(folder), device="cpu"))
    expected = expected_scores(caan_model(whitening=0.5), image_processor())
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    assert scores["main_score"] == scores["hit_rate_at_1"] and 0 < scores["hit_rate_at_5"] <= 1


def test_what_else_eval_takes_is_measured_too():
    scores, pixels = scores_of(MtebEncoder(PIXELS, device="cpu")), load_retriever(PIXELS)
    expected = expected_scores(pixels.model, pixels.processor)
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-5)


def test_queries_are_sketches_and_the_rest_photos(encoder):
    rows = {"a": sketch(), "b": sketch(box=(5, 5, 60, 20))}
    model, process = caan_model(), image_processor()
    drawn, taken = (embed_images(model, process, list(rows.values()), kind, progress=False) for kind in ("sketch", "photo"))
    assert isinstance(encoder, EncoderProtocol) and not torch.allclose(drawn, taken, atol=1e-2)
    assert torch.equal(encode(encoder, rows, PromptType.query), drawn)
    for prompt_type in (PromptType.document, None):
        assert torch.equal(encode(encoder, rows, prompt_type, batch_size=2, show_progress_bar=False), taken)


def test_a_picture_that_cannot_be_read_finds_nothing(encoder):
    rows = {"a": sketch(), "blank": Image.new("RGB", (64, 64), "white"), "c": {"bytes": encoded(sketch())[:60], "path": None}}
    with pytest.warns(UserWarning, match="skipped 2 of 3 sketches"):
        vectors = encode(encoder, rows, PromptType.query)
    assert vectors.shape == (3, HIDDEN_SIZE) and vectors[0].norm() == pytest.approx(1)
    assert torch.equal(vectors[1:], torch.zeros(2, HIDDEN_SIZE))
    assert torch.equal(encoder.similarity(vectors, torch.eye(HIDDEN_SIZE))[1], torch.zeros(HIDDEN_SIZE))


def test_similarities_are_cosines(encoder):
    one, other = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[0.0, 2.0], [5.0, 0.0]])
    assert torch.allclose(encoder.similarity(one, other.numpy()), torch.tensor([[0.8, 0.6], [0.0, 1.0]]))
    assert torch.allclose(encoder.similarity_pairwise(one.numpy(), other), torch.tensor([0.8, 1.0]))


def test_results_are_filed_under_name_and_weights(folder, encoder):
    meta = MtebEncoder(str(folder), device="cpu").mteb_model_meta
    assert (meta.name, meta.revision) == ("local/shapes", weights_fingerprint(folder))
    assert meta.modalities == ["image"]
    assert (encoder.mteb_model_meta.name, encoder.mteb_model_meta.revision) == ("local/mine", "no_revision_available")
    encoder.retriever.name = "org/caan-sketchy"
    assert encoder.mteb_model_meta.name == "org/caan-sketchy"


def test_tasks_of_text_are_refused(encoder):
    rows = SimpleNamespace(dataset=SimpleNamespace(features={"text": None}))
    with pytest.raises(ValueError, match="NFCorpus has no pictures, and a CAAN sees nothing else"):
        encoder.encode(rows, task_metadata=SimpleNamespace(name="NFCorpus"), hf_split="test", hf_subset="default")


def test_without_mteb_the_cure_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[mteb\]", with Python 3\.11 or later'):
        MtebEncoder(PIXELS)


def test_the_task_is_as_the_page_says():
    """docs/mteb.md names these numbers; a new version of mteb may mend the task."""
    task = mteb.get_task("SketchyI2IRetrieval")
    found = task.metadata.descriptive_stats["test"]
    relevant = found["relevant_docs_statistics"]
    assert (found["num_documents"], relevant["unique_relevant_docs"]) == (25_000, 12_500)
    asked = relevant["num_relevant_docs"] / relevant["average_relevant_docs_per_query"]
    assert (found["num_queries"], asked) == (452_886, 75_481)
    assert relevant["min_relevant_docs_per_query"] == relevant["max_relevant_docs_per_query"] == 100
    assert (task.metadata.eval_splits, task.metadata.main_score) == (["test"], "hit_rate_at_1")
