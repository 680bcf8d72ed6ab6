"""A combined model where a single one is used: strangers, the Hub, eval, card, galleries, export, training.

python -m pytest tests/combine/test_combined_use.py
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from combined import caan_combine, cosines, mean_cosines, save_member
from hub_client import hub_environment, served_hub
from huggingface_hub import ModelCard
from photos import photo_folder, shape
from pushing import caan_push
from running import shapes
from safetensors.torch import load_file
from tiny import HUB_SET, photo, pixels, sketch
from transformers import AutoImageProcessor, AutoModel
from trees import SEEN, UNSEEN, shape_options

from caan import cli
from caan.evaluation.combination import COMBINED_FILE, read_combination
from caan.evaluation.evaluate import embed_benchmark
from caan.evaluation.record import Evaluation
from caan.evaluation.retrievers import load_retriever
from caan.export.runtime import load_exported
from caan.figures.sketches import load_processor, sketch_sheet
from caan.search.encoder import Encoder, Source
from caan.search.explanation import explain
from configuration_caan import SENTENCE_FILES
from modeling_caan import CAANEnsembleModel

STRANGER = str(Path(__file__).parents[1] / "helpers" / "combined_stranger.py")
REPO = "org/both"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A ViT and a CNN with records of their training, their combination, and pictures."""
    work = tmp_path_factory.mktemp("work")
    save_member(work / "vit", "vit", facts={"seen_classes": sorted(SEEN), "license": None})
    save_member(work / "cnn", "cnn", seed=1, facts={"seen_classes": sorted(SEEN)[:2], "dataset": "org/shapes"})
    assert caan_combine(work / "vit", work / "cnn", "--weights", 1, 0.5, "--output_dir", work / "both") == 0
    sketch().save(work / "sketch.png")
    photo().save(work / "photo.png")
    photo_folder(work / "photos", per_shape=1)
    return work


def run(*arguments) -> int:
    """Exit status of a command, whether it returns it or ends the process."""
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)


def data(output) -> list:
    return ["--dataset", "folder", "--data_dir", shapes(), "--num_workers", 0, "--output_dir", output]


# --------------------------------------------------------------------------------------------------- strangers, the Hub


def visit(work, target, name, environment) -> tuple[dict, dict]:
    """What a stranger made of a combined model, in a folder of its own."""
    target.mkdir()
    for file in ("sketch.png", "photo.png"):
        (target / file).write_bytes((work / file).read_bytes())
    photo_folder(target / "photos", per_shape=1)
    done = subprocess.run(
        [sys.executable, "-I", STRANGER, str(target), str(name)],
        cwd=target,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((target / "results.json").read_text()), load_file(target / "arrays.safetensors")


def check_visit(work, target, results, arrays) -> None:
    """A stranger had the mean of the members' cosines, by code of the folder alone."""
    assert results["ours"] == [] and results["lacking"] == []
    assert all(module.startswith("transformers_modules.") for module in results["modules"])
    pictures = {"sketches": [str(target / "sketch.png")], "photos": [str(target / "photo.png")]}
    weights = {work / "vit": 1, work / "cnn": 0.5}
    made = (arrays["sketch"].double() @ arrays["photo"].double().T).item()
    assert made == pytest.approx(mean_cosines(weights, **pictures).item(), abs=1e-6)
    found = results["found"]
    expected = mean_cosines(weights, sketches=pictures["sketches"], photos=[result["image"] for result in found])
    np.testing.assert_allclose([result["score"] for result in found], expected[0], atol=1e-6)
    assert len(found) == 4 and sorted(expected[0].tolist(), reverse=True) == pytest.approx(expected[0].tolist(), abs=1e-6)
    assert {path.name for path in (target / "again").glob("*.py")} == HUB_SET


def test_a_folder_alone_serves_a_stranger(work, tmp_path, monkeypatch):
    with served_hub(monkeypatch, tmp_path / "cache") as hub:
        environment = hub_environment(hub, tmp_path / "home", offline=True)
        results, arrays = visit(work, tmp_path / "desk", work / "both", environment)
    assert results["said"] == []
    check_visit(work, tmp_path / "desk", results, arrays)


def test_pushed_it_serves_a_stranger_and_is_a_member_by_its_id(work, tmp_path, monkeypatch):
    with served_hub(monkeypatch, tmp_path / "cache") as hub:
        assert caan_push(work / "both", REPO, "--license", "mit") == 0
        assert caan_push(work / "cnn", "org/cnn") == 0
        files = hub.files(REPO)
        own = {"README.md", "config.json", "model.safetensors", "preprocessor_config.json", COMBINED_FILE}
        assert files.keys() == HUB_SET | SENTENCE_FILES.keys() | own | {".gitattributes"}
        assert str(work).encode() not in b"".join(files.values())
        card = ModelCard(files["README.md"].decode())
        assert card.data.license == "mit" and f'model="{REPO}"' in card.text
        results, arrays = visit(work, tmp_path / "desk", REPO, hub_environment(hub, tmp_path / "home"))
        check_visit(work, tmp_path / "desk", results, arrays)
        assert caan_combine(REPO, "org/cnn", "--weights", 3, 1, "--output_dir", tmp_path / "new") == 0
        revision = hub.model("org/cnn").branches["main"][-1].sha
    loaded = AutoModel.from_pretrained(tmp_path / "new").eval(), AutoImageProcessor.from_pretrained(tmp_path / "new")
    expected = mean_cosines({work / "vit": 2, work / "cnn": 2})
    assert (cosines(*loaded) - expected).abs().max() < 1e-6
    record = read_combination(tmp_path / "new")
    assert [member.name for member in record.members] == ["vit", "cnn", "org/cnn"]
    assert record.members[2].revision == revision and record.seen_classes == sorted(SEEN)
    assert f"`org/cnn` at `{revision[:12]}`" in (tmp_path / "new" / "README.md").read_text()


def test_a_single_model_that_is_pushed_over_it_leaves_no_record(work, tmp_path, monkeypatch):
    with served_hub(monkeypatch, tmp_path / "cache") as hub:
        assert caan_push(work / "both", REPO) == 0 and COMBINED_FILE in hub.files(REPO)
        assert caan_push(work / "vit", REPO) == 0 and COMBINED_FILE not in hub.files(REPO)


# ----------------------------------------------------------------------------------------------------------------- card


def test_the_card_names_members_weights_bytes_and_cost(work):
    card, record = ModelCard.load(work / "both" / "README.md"), read_combination(work / "both")
    assert "It holds 2 models, whose cosines are averaged by weight: `vit` (1), `cnn` (0.5)." in card.text
    rows = [re.split(r" *\| *", line.strip("| ")) for line in card.text.splitlines() if line.startswith(("| `vit`", "| `cnn`"))]
    for row, member in zip(rows, record.members):
        costs = (member.hidden_size, member.parameters, member.bytes, member.multiplications)
        size = " x ".join(map(str, member.image_size))
        encoder = member.encoder + (", whitened" if member.whitened else "")
        assert row == [f"`{member.name}`", f"{member.weight:g}", encoder, size, *(f"{cost:,}" for cost in costs)]
    assert f"{record.total('multiplications'):,} |" in card.text and f"{record.total('bytes'):,} |" in card.text
    assert f"Its members learned {len(SEEN)} classes." in card.text and "## Training" not in card.text
    assert "- `cnn` was trained on `org/shapes`, zero-shot split `104_21`" in card.text
    assert "| `vit` started from `facebook/dinov2-small` | apache-2.0 |" in card.text
    assert card.data.datasets == ["org/shapes"] and card.data.license == "unknown"
    assert str(work) not in card.content


def test_a_licence_that_all_members_have_is_the_combinations(work, tmp_path):
    for name, license_id in (("a", "mit"), ("b", "mit"), ("c", "apache-2.0")):
        folder = save_member(tmp_path / name, "wide")
        (folder / "README.md").write_text(f"---\nlicense: {license_id}\n---\n")
    assert caan_combine(tmp_path / "a", tmp_path / "b", "--output_dir", tmp_path / "same") == 0
    assert caan_combine(tmp_path / "a", tmp_path / "c", "--output_dir", tmp_path / "mixed") == 0
    assert ModelCard.load(tmp_path / "same" / "README.md").data.license == "mit"
    assert ModelCard.load(tmp_path / "mixed" / "README.md").data.license == "unknown"
    assert "| member `c` | apache-2.0 |" in (tmp_path / "mixed" / "README.md").read_text()


# ----------------------------------------------------------------------------------------------------------------- eval


def test_eval_measures_it_and_knows_what_it_saw(work, tmp_path):
    both, seen = work / "both", sorted(SEEN)
    assert run("eval", "--model", both, work / "cnn", "pixels", *data(tmp_path), "--device", "cpu", "--update_card") == 0
    record = Evaluation.read(tmp_path / "results.json")
    assert record.models["both"].seen_classes == seen and record.seen("both").kind == "unseen"
    card = ModelCard.load(both / "README.md")
    entries = {entry.metric_name: entry.metric_value for entry in card.data.eval_results}
    assert entries["mAP@all"] == record.results["both"]["map_all"]
    assert f"{len(UNSEEN)} classes, none of which the model saw in training" in card.text and "## Members" in card.text
    assert run("eval", "--model", both, *data(tmp_path / "val"), "--device", "cpu", "--split", "validation") == 0
    assert Evaluation.read(tmp_path / "val" / "results.json").seen("both").kind == "seen"
    assert run("eval", "--model", both, *data(tmp_path / "size"), "--image_size", 64) == 1


def test_eval_ranks_by_the_mean_cosine(work):
    from caan.data.benchmark import make_benchmark
    from caan.data.pictures import load_splits
    from caan.options import DataOptions

    benchmark = make_benchmark(load_splits(DataOptions(dataset="folder", data_dir=str(shapes()))))
    scores = {}
    for name in ("vit", "cnn", "both"):
        queries, gallery = embed_benchmark(load_retriever(str(work / name)), benchmark, progress=False)
        scores[name] = queries.double() @ gallery.double().T
    assert (scores["both"] - (scores["vit"] + 0.5 * scores["cnn"]) / 1.5).abs().max() < 1e-6


# ------------------------------------------------------------------------------------------------------------ galleries


def test_index_search_and_explain(work, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CAAN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(8):
        photo((90, 70), seed).save(photos / f"{seed}.png")
    gallery = tmp_path / "gallery"
    assert run("index", photos, "--gallery", gallery, "--model", work / "both", "--num_workers", 0, "--device", "cpu") == 0
    shape("circle", 7).save(tmp_path / "s.png")
    capsys.readouterr()
    assert run("search", tmp_path / "s.png", "--gallery", gallery, "--json", "--device", "cpu", "--picture", "none") == 0
    found = json.loads(capsys.readouterr().out)
    expected = mean_cosines(
        {work / "vit": 1, work / "cnn": 0.5}, sketches=[shape("circle", 7)], photos=[result["path"] for result in found]
    )[0]
    np.testing.assert_allclose([result["score"] for result in found], expected, atol=2e-3)  # vectors on disk are float16
    assert len(found) == 8
    assert run("search", tmp_path / "s.png", "--gallery", gallery, "--explain", "--device", "cpu", "--picture", "e.png") == 0
    assert (tmp_path / "e.png").stat().st_size > 0
    assert caan_combine(work / "vit", work / "cnn", "--weights", 1, 1, "--output_dir", tmp_path / "even") == 0
    assert run("search", tmp_path / "s.png", "--gallery", gallery, "--model", tmp_path / "even", "--device", "cpu") == 1
    assert "made by other settings of the model" in capsys.readouterr().err


def test_an_explanation_is_the_heaviest_members(work):
    both, alone = (Encoder.load(Source(str(work / name)), "cpu") for name in ("both", "vit"))
    pair = shape("circle", 1), shape("cross", 2, ground="gray")
    made, expected = (explain(encoder.model, encoder.processor, *pair) for encoder in (both, alone))
    np.testing.assert_array_equal(made.heat, expected.heat)
    assert made.side == expected.side and np.array_equal(made.sketch, expected.sketch)


def test_a_sheet_of_sketches(work):
    sheet = sketch_sheet([sketch()], load_processor(str(work / "both")))
    assert sheet.height > 240


# --------------------------------------------------------------------------------------------------------------- export


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_export(work, tmp_path, kind):
    if kind == "onnx":
        for module in ("onnx", "onnxruntime", "onnxscript"):
            pytest.importorskip(module)
    options = ["--int8", "--int8_min_cosine", 0.9] if kind == "onnx" else []
    assert run("export", "--model", work / "both", "--format", kind, *data(tmp_path / "out"), *options) == 0
    report = json.loads((tmp_path / "out" / "export.json").read_text())
    assert report["image_size"] == [224, 350] and report["agreement"][kind]["max_abs_difference"] < 1e-4
    exported = load_exported(tmp_path / "out", kind)
    expected = mean_cosines({work / "vit": 1, work / "cnn": 0.5})
    assert (cosines(exported.model, exported.processor) - expected).abs().max() < 1e-5
    assert set(report["files"][kind].values()) == {
        f"{name}.{'onnx' if kind == 'onnx' else 'pt2'}" for name in ("sketch", "photo")
    }


@pytest.mark.parametrize("whitened", [False, True])
def test_shared_towers_are_one_graph(tmp_path, whitened):
    from tiny import caan_model, image_processor

    for seed, name in enumerate("ab"):
        fields = {"whitening": 0.5} if whitened and seed else {}
        caan_model(seed, share_vision_encoder=True, use_text=False, **fields).save_pretrained(tmp_path / name)
        image_processor().save_pretrained(tmp_path / name)
    assert caan_combine(tmp_path / "a", tmp_path / "b", "--output_dir", tmp_path / "ab") == 0
    options = ["--format", "torch", "--dataset", "none", "--output_dir", tmp_path / "out"]
    assert run("export", "--model", tmp_path / "ab", *options) == 0
    report = json.loads((tmp_path / "out" / "export.json").read_text())
    assert report["files"]["torch"] == {"sketch": "sketch_photo.pt2", "photo": "sketch_photo.pt2"}
    assert set(report["outputs"].values()) == ({"sketch_features", "photo_features"} if whitened else {"features"})
    exported = load_exported(tmp_path / "out", "torch")
    expected = mean_cosines({tmp_path / "a": 1, tmp_path / "b": 1})
    assert (cosines(exported.model, exported.processor) - expected).abs().max() < 1e-5


def test_whitening_of_a_member_stays_in_float32(work, tmp_path):
    pytest.importorskip("onnxscript")
    from caan.export.graphs import export_graphs
    from caan.export.quantization import whitening_nodes

    model = AutoModel.from_pretrained(work / "both").eval()
    files, _ = export_graphs(model, model.config.input_size, tmp_path)
    assert len(whitening_nodes(tmp_path / files["photo"])) >= 1  # of the ViT, and the CNN has none


# ------------------------------------------------------------------------------------------------------------- training


def test_it_is_not_trained_on(work, tmp_path, capsys):
    options = ["--model", str(work / "both"), "--dataset", "folder", "--data_dir", str(shapes()), "--num_workers", "0", "--cpu"]
    assert run("train", *options, "--output_dir", tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert "it is a combined model: train its members apart, and combine them anew with caan combine" in said
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_run_does_not_write_over_it(work, tmp_path):
    before = (work / "both" / "config.json").read_bytes()
    assert run("train", *shape_options(shapes(), work / "both")) == 1
    assert (work / "both" / "config.json").read_bytes() == before


def test_loaded_here_it_is_what_the_package_has(work):
    model = AutoModel.from_pretrained(work / "both")
    assert type(model) is CAANEnsembleModel and model.config.hidden_size == 20
    sheet = pixels(AutoImageProcessor.from_pretrained(work / "both"), sketch(), modality="sketch")
    assert sheet.shape == (1, 3, 224, 350) and torch.isfinite(model.eval().get_sketch_features(sheet)).all()
