"""benchmarks/accuracy/figures.py as a user runs it.  python -m pytest tests/figures/test_figures_script.py"""

import sys

import numpy as np
import pytest
import torch
import transformers
from PIL import Image, ImageColor
from running import finished, run_script, run_to_error, shapes
from tiny import vision_config
from trees import UNSEEN

from caan.figures import attention, projection
from caan.figures.grid import FALSE, TRUE
from modeling_caan import CAANModel
from processing_caan import CAANProcessor

SCRIPT = "benchmarks/accuracy/figures.py"
FILES = ["attention_maps.png", "correspondences.png", "retrieval_grid.png", "tsne.png"]


def arguments(output, model=None, **options) -> list[str]:
    settings = {"dataset": "folder", "data_dir": shapes(), "num_workers": 0, "output_dir": output, "device": "cpu", **options}
    return [str(model or finished()[0]), *(part for key, value in settings.items() for part in (f"--{key}", *as_list(value)))]


def as_list(value) -> list[str]:
    return [str(part) for part in (value if isinstance(value, list) else [value])]


def written(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A run with all figures, and what it gave to the functions that draw attention maps and project."""
    seen = {}
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((attention, "draw_attention_maps"), (projection, "tsne")):
            original = getattr(module, name)
            patch.setattr(module, name, lambda *a, _name=name, _run=original: _run(*seen.setdefault(_name, a)))
        output = tmp_path_factory.mktemp("figures")
        run = run_script(SCRIPT, arguments(output, rows=2, top_k=16, words=2, tsne_pictures=6))
    return output, run, seen


def test_all_four_are_written_and_named(drawn):
    output, run, _ = drawn
    assert written(output) == FILES
    assert "skipped" not in run.stdout
    for name in ("attention_maps.png", "correspondences.png"):
        assert Image.open(output / name).width == 2160  # 7.2 inches of 300 dots


def test_the_grid_frames_true_positives_green_and_false_ones_red(drawn):
    pixels = np.asarray(Image.open(drawn[0] / "retrieval_grid.png"))
    green, red = ((pixels == ImageColor.getrgb(colour)).all(-1).sum() for colour in (TRUE, FALSE))
    assert green > red > 1000  # half of the whole gallery of 16 is of the query's class; red frames are dashed


def test_tsne_gets_both_modalities_of_the_unseen_classes(drawn):
    sketches, photos, seed, perplexity = drawn[2]["tsne"]
    assert sketches.shape == (12, 16) and photos.shape == (12, 16)  # six of each of two classes
    torch.testing.assert_close(sketches.norm(dim=1), torch.ones(12))
    assert not torch.equal(sketches, photos) and (seed, perplexity) == (0, 30.0)


def test_maps_are_those_of_the_models_attention_over_the_classs_own_sentence(drawn):
    (examples,) = drawn[2]["draw_attention_maps"]
    assert sorted(example.name for example in examples) == sorted(UNSEEN)
    model, processor = CAANModel.from_pretrained(finished()[0]), CAANProcessor.from_pretrained(finished()[0])
    text = processor.tokenizer([example.sentence for example in examples], padding=True, return_tensors="pt")
    pictures = {
        m: processor.image_processor([e.pictures[m] for e in examples], modality="photo", return_tensors="pt").pixel_values
        for m in ("sketch", "photo")
    }
    with torch.no_grad():
        output = model.eval()(
            pixel_values=pictures["photo"],
            sketch_pixel_values=pictures["sketch"],
            labels=torch.arange(2),
            input_ids=text["input_ids"][:, None],
            attention_mask=text["attention_mask"][:, None],
            output_attentions=True,
        )
    read = {"sketch": output.sketch_text_attentions[-1], "photo": output.image_text_attentions[-1]}
    for row, example in enumerate(examples):
        assert example.sentence == f"the {example.name} is a plain shape ." and len(example.words) == 2
        for place, word in enumerate(example.words):
            number = example.sentence.split().index(word)
            columns = [i for i, w in enumerate(text.word_ids(row)) if w == number]
            for modality, weights in read.items():
                column = weights[row].mean(dim=0)[1:, columns].sum(dim=1)
                torch.testing.assert_close(example.maps[modality][place].flatten(), column / column.sum())


def test_the_form_for_inference_goes_without_attention_maps_and_says_so(tmp_path):
    model = tmp_path / "inference"
    CAANModel.from_pretrained(finished()[0]).for_inference().save_pretrained(model)
    CAANProcessor.from_pretrained(finished()[0]).image_processor.save_pretrained(model)
    run = run_script(SCRIPT, arguments(tmp_path / "out", model, rows=1, figures=["attention_maps", "correspondences"]))
    assert "skipped: attention_maps.png, since the model is in its form for inference" in run.stdout
    assert "no text encoder and no alignment" in run.stdout
    assert written(tmp_path / "out") == ["correspondences.png"]


def test_a_missing_scikit_learn_stops_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    message = run_to_error(SCRIPT, arguments(tmp_path / "out"))
    assert 'error: t-SNE needs the package scikit-learn: pip install -e ".[figures]"' in message
    assert "encoding" not in message and written(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dataset": "opnmoji"}, "No data set 'opnmoji'. Builders: openmoji,"),
        ({"figures": ["tsn"]}, "There is no figure 'tsn', did you mean 'tsne'?"),
        ({"classes": ["frames"]}, "The split has no class 'frames', did you mean 'frame'?"),
        ({"sentence": 9}, "has 2 sentences, no sentence 9"),
        ({"words": 0}, "words must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"validation_photos": 1}, "validation_photos must be in [0, 1), got 1"),
    ],
)
def test_wrong_options_are_named_and_nothing_is_written(tmp_path, options, reason):
    assert reason in run_to_error(SCRIPT, arguments(tmp_path / "out", **options))
    assert written(tmp_path / "out") == []


def test_a_plain_vision_model_is_sent_to_eval(tmp_path):
    transformers.AutoModel.from_config(vision_config()).save_pretrained(tmp_path / "plain")
    message = run_to_error(SCRIPT, arguments(tmp_path / "out", tmp_path / "plain"))
    assert "is a vit and no CAAN. eval.py makes the retrieval grid" in message


def test_a_model_that_is_not_there_is_named(tmp_path):
    assert "model 'no/such-model' cannot be loaded" in run_to_error(SCRIPT, arguments(tmp_path / "out", "no/such-model"))
