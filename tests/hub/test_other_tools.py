"""A pushed CAAN by its id in tools that know sentence-transformers.  python -m pytest tests/hub/test_other_tools.py"""

import pytest
import torch
from folders import make_folder
from hub_client import served_hub
from pushing import REPO
from tiny import HUB_SET, caan_model, photo, pixels, sketch

from caan.evaluation.mteb_wrapper import MtebEncoder
from caan.hub.push import push
from caan.options import PushOptions
from configuration_caan import SENTENCE_FILES
from modeling_caan import CAANModel
from processing_caan import CAANImageProcessor

sentence_transformers = pytest.importorskip("sentence_transformers", minversion="6.2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model's folder, pushed to a fake Hub that answers while this module is tested."""
    work = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch, served_hub(patch, work / "cache"):
        push(make_folder(work / "run"), REPO, PushOptions())
        yield work / "run"


def test_sentence_transformers(folder):
    model = sentence_transformers.SentenceTransformer(REPO, trust_remote_code=True, device="cpu")
    plain, process = CAANModel.from_pretrained(folder), CAANImageProcessor.from_pretrained(folder)
    photos, sketches = [photo(seed=0), photo(seed=1)], [sketch()]
    with torch.no_grad():
        expected = plain.get_image_features(pixels(process, photos, modality="photo"))
        query = plain.get_sketch_features(pixels(process, sketches, modality="sketch"))
    assert torch.equal(torch.from_numpy(model.encode_document(photos)), expected)
    assert torch.equal(torch.from_numpy(model.encode_query(sketches)), query)


def test_transformers_own_push_takes_the_files_along(hub, tmp_path):
    caan_model().save_pretrained(tmp_path / "run", push_to_hub=True, repo_id="org/mine")
    assert hub.files("org/mine").keys() >= HUB_SET | SENTENCE_FILES.keys()


def test_mteb_finds_pictures_and_prompts_by_itself(folder):
    mteb = pytest.importorskip("mteb")
    from mteb_task import ShapesI2IRetrieval

    found = mteb.get_model(REPO, trust_remote_code=True, device="cpu")
    assert found.mteb_model_meta.modalities == ["image"]
    scores, expected = (
        mteb.evaluate(model, ShapesI2IRetrieval(), cache=None, show_progress_bar=False).task_results[0].scores["test"][0]
        for model in (found, MtebEncoder(str(folder), device="cpu"))
    )
    names = [f"{metric}_at_{k}" for metric in ("hit_rate", "ndcg", "map", "precision", "mrr") for k in (1, 3, 5, 10)]
    assert {name: scores[name] for name in names} == {name: expected[name] for name in names}
    assert 0 < scores["map_at_10"] < 1
