"""eval.py as a user runs it.  python -m pytest tests/evaluation/test_eval_script.py"""

import json
import os
import shutil
import signal

import pytest
import torch
import transformers
from PIL import Image
from running import finished, run_script, run_to_error, shapes
from tiny import caan_model, vision_config
from trees import UNSEEN

import pipeline_caan
from caan.data.benchmark import make_benchmark
from caan.data.pictures import load_splits
from caan.evaluation import run as running_evaluation
from caan.evaluation.command import main
from caan.evaluation.evaluate import embed_benchmark, evaluate, measure
from caan.evaluation.record import Evaluation
from caan.evaluation.reranking import rerank
from caan.evaluation.retrievers import load_retriever
from caan.evaluation.weights import weights_fingerprint
from caan.options import DataOptions


def arguments(output, *models, **options) -> list[str]:
    settings = {"dataset": "folder", "data_dir": shapes(), "num_workers": 0, "output_dir": output, "device": "cpu", **options}
    lists = {key: value for key, value in settings.items() if isinstance(value, list)}
    flat = [f"--{key}={value}" for key, value in settings.items() if key not in lists]
    return ["--model", *map(str, models), *flat, *(part for k, v in lists.items() for part in (f"--{k}", *map(str, v)))]


def read(output) -> Evaluation:
    return Evaluation.read(output / "results.json")


@pytest.fixture(scope="module")
def benchmark():
    return make_benchmark(load_splits(DataOptions(dataset="folder", data_dir=str(shapes()))))


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A plain vision model's folder."""
    folder = tmp_path_factory.mktemp("plain")
    transformers.AutoModel.from_config(vision_config()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, backbone):
    """A trained CAAN beside a plain vision model and the pixels: the output folder and the run."""
    output = tmp_path_factory.mktemp("eval")
    models = (finished()[0], backbone, "pixels")
    return output, run_script("eval.py", arguments(output, *models, top_k=[3, 5], picture_rows=2)), models


def test_each_model_is_measured_as_by_the_library(evaluated, benchmark):
    output, _, models = evaluated
    record = read(output)
    assert list(record.results) == [models[0].name, models[1].name, "pixels"]
    for name, row in zip(models, record.results.values()):
        report = evaluate(load_retriever(str(name)), benchmark, {"top_k": (3, 5)})
        assert {metric: row[metric] for metric in report.metrics} == pytest.approx(report.metrics, abs=1e-9)
        assert row["gallery_size"] == 16 and row["num_queries"] == 20


def test_the_record_tells_its_circumstances(evaluated):
    output, _, models = evaluated
    record = read(output)
    assert (record.dataset, record.split, record.generalized) == ("folder", "test", False)
    assert record.dataset_config and record.classes == list(UNSEEN) and record.rerank is None
    assert (record.settings["top_k"], record.settings["device"]) == ([3, 5], "cpu")
    assert record.command.startswith(f"python eval.py --model {models[0].name} {models[1].name} pixels --dataset=folder")
    assert record.definitions["prec_3"] == "Prec@3: hits in the top 3, divided by 3" and record.versions["caan"]
    caan, plain, pixels = record.models.values()
    assert caan.weights == weights_fingerprint(models[0]) and plain.weights == weights_fingerprint(models[1])
    assert [record.seen(name).kind for name in record.results] == ["unseen", "unknown", "unseen"]


def test_no_path_of_the_machine_is_in_what_may_be_published(evaluated):
    output, _, models = evaluated
    for name in ("results.json", "table.md"):
        text = (output / name).read_text()
        for path in (output, *models[:2], shapes(), shapes().parent):
            assert str(path) not in text, (name, path)


def test_table_and_pictures(evaluated):
    output, run, models = evaluated
    table = (output / "table.md").read_text()
    assert table in run.stdout and len([line for line in table.splitlines() if line.startswith("| ")]) == 2 + len(models)
    assert "2 classes, none of which the model saw in training" in table and "Re-ranked" not in table
    for name in models:
        image = Image.open(output / f"retrieval_{name if name == 'pixels' else name.name}.png")
        assert image.width > 1000
    assert f"results: {output / 'results.json'}" in run.stdout
    assert "20 queries in a gallery of 16" in run.stdout


def test_seen_classes_are_told_from_unseen_ones(tmp_path):
    folder, _ = finished()
    run = run_script("eval.py", arguments(tmp_path / "seen", folder, split="validation", picture_rows=0))
    assert read(tmp_path / "seen").seen(folder.name) == (5, 5)
    assert f"- {folder.name}: 5 classes, all of which the model saw in training: no zero-shot numbers" in run.stdout
    other = tmp_path / "other"  # one of the test's classes was among its seen ones
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("checkpoints"))
    facts = json.loads((folder / "training.json").read_text())
    (other / "training.json").write_text(json.dumps(facts | {"seen_classes": ["arch", "FRAME"]}))
    run = run_script("eval.py", arguments(tmp_path / "mixed", other, picture_rows=0))
    assert read(tmp_path / "mixed").seen("other").kind == "mixed"
    assert "- other: 2 classes, of which the model saw 1 in training: no zero-shot numbers" in run.stdout


def test_generalized_and_validation(tmp_path):
    run_script("eval.py", arguments(tmp_path / "all", "pixels", generalized=True, picture_rows=0))
    row = read(tmp_path / "all").results["pixels"]
    assert (row["gallery_size"], row["num_queries"]) == (56, 20)
    assert not list((tmp_path / "all").glob("*.png"))
    run_script("eval.py", arguments(tmp_path / "seen", "pixels", split="validation", picture_rows=0, average="macro"))
    record = read(tmp_path / "seen")
    row = record.results["pixels"]
    assert (row["gallery_size"], row["num_queries"], row["average"], record.split) == (5, 10, "macro", "validation")


def test_reranking_is_measured_on_what_the_library_reranks_and_said_wherever_numbers_stand(tmp_path, benchmark):
    run = run_script("eval.py", arguments(tmp_path, "pixels", rerank=9, picture_rows=1))
    record = read(tmp_path)
    report = measure(rerank(*embed_benchmark(load_retriever("pixels"), benchmark), 9), benchmark)
    assert record.rerank.neighbours == 9 and record.results["pixels"]["map_all"] == pytest.approx(report["map_all"])
    content = json.loads((tmp_path / "results.json").read_text())["rerank"]
    assert content["uses"] == "the whole gallery: transductive"
    said = "**Re-ranked.** These numbers are re-ranked by query expansion with database-side augmentation over 9 neighbours"
    for text in ((tmp_path / "table.md").read_text(), run.stdout):
        assert said in text and "transductive" in text
        assert "Here the median query has 8, fewer than the neighbours" in text


def test_models_of_one_name_have_numbers_and_pictures_of_their_own(tmp_path, backbone, benchmark):
    other = tmp_path / backbone.name
    transformers.AutoModel.from_config(vision_config()).save_pretrained(other)
    output = tmp_path / "out"
    run_script("eval.py", arguments(output, backbone, other, picture_rows=1, top_k=[1]))
    names = [backbone.name, f"{backbone.name} (2)"]
    assert list(read(output).results) == names
    assert {path.name for path in output.glob("*.png")} == {f"retrieval_{name}.png" for name in names}
    for folder, name in zip((backbone, other), names):
        expected = evaluate(load_retriever(str(folder)), benchmark)["map_all"]
        assert read(output).results[name]["map_all"] == pytest.approx(expected, abs=1e-9)


def test_the_card_gets_the_record_and_the_picture(tmp_path, monkeypatch):
    folder, _ = finished()
    told = []
    monkeypatch.setattr("caan.hub.card.update_card", lambda *given: told.append(given) or "written")
    run = run_script("eval.py", arguments(tmp_path, "pixels", folder, picture_rows=1, update_card=True))
    ((where, record, picture),) = told
    assert where == folder and record.model == folder.name and record.results.keys() == {"pixels", folder.name}
    assert picture == tmp_path / f"retrieval_{folder.name}.png" and "card: written" in run.stdout


# --------------------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    "models,options,message",
    [
        (["no/such"], {}, "error: model 'no/such' cannot be loaded"),
        (["pixels"], {"data_dir": "no/data"}, "error: Own sketches and photos: data_dir no/data does not exist"),
        (["pixels"], {"dataset": "nothing"}, "error: No data set 'nothing'"),
        (["pixels"], {"split": "validation", "generalized": True}, "error: generalized adds the seen classes"),
        (["pixels"], {"rerank": 5, "update_card": True}, "A card shows the model's own ranking"),
        (["pixels"], {"update_card": True}, "error: update_card needs a folder of a CAAN among the models"),
        (["pixels"], {"top_k": [0]}, "eval.py: error: top_k must be at least 1, got 0."),
        (["pixels"], {"device": "nonsense"}, "error: device 'nonsense' cannot be used here: "),
        (["pixels"], {"device": "meta"}, "error: device 'meta' cannot be used here: "),
        (["pixels", "no/such"], {}, "error: model 'no/such' cannot be loaded"),  # before the pixels are measured
        (["pixels"], {"splt": "test"}, "eval.py: error: unknown option 'splt', did you mean 'split'?"),
    ],
)
def test_bad_input_is_told_in_one_message(tmp_path, models, options, message):
    error = run_to_error("eval.py", arguments(tmp_path / "out", *models, **options))
    assert message in error and "Traceback" not in error
    assert not (tmp_path / "out" / "results.json").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_told_in_one_line(tmp_path):
    error = run_to_error("eval.py", arguments(tmp_path, "pixels", device="cuda"))
    assert "eval.py: error: device 'cuda' cannot be used here: " in error and "Give --device cpu, or leave it out." in error
    assert len(error.strip().splitlines()) == 1


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(running_evaluation, "load_splits", lambda options: pytest.fail("the data was read"))
    (tmp_path / "file").write_text("kept")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        error = run_to_error("eval.py", arguments(folder, "pixels"))
        assert f"eval.py: error: {folder} cannot be written: " in error and "Give another --output_dir." in error
    assert (tmp_path / "file").read_text() == "kept"


def test_a_picture_smaller_than_a_patch_is_told(tmp_path, backbone):
    error = run_to_error("eval.py", arguments(tmp_path, backbone, image_size=4))
    assert f"error: model {str(backbone)!r} takes no pictures of 4 x 4 pixels: " in error and "--image_size" in error
    assert len(error.strip().splitlines()) == 1


def test_damaged_weights_are_told_and_the_models_before_them_are_kept(tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(finished()[0], folder, ignore=shutil.ignore_patterns("checkpoints"))
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    error = run_to_error("eval.py", arguments(tmp_path / "out", "pixels", folder, picture_rows=0))
    assert f"eval.py: error: model {str(folder)!r} cannot be loaded: " in error
    assert list(read(tmp_path / "out").results) == ["pixels"]


@pytest.mark.parametrize("stop, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("after", [0, 1])
def test_a_stop_says_what_is_kept(tmp_path, monkeypatch, capsys, stop, status, after):
    calls = []

    def interrupted(retriever, *args, **options):
        calls.append(retriever.name)
        if len(calls) > after:
            os.kill(os.getpid(), stop)
        return embed_benchmark(retriever, *args, **options)

    monkeypatch.setattr(running_evaluation, "embed_benchmark", interrupted)
    with pytest.raises(SystemExit) as caught:
        main(arguments(tmp_path, "pixels", "pixels", picture_rows=0), prog="caan eval")
    assert caught.value.code == status
    said = capsys.readouterr().err.strip().splitlines()[-1]
    if after:
        kept = f"the numbers of pixels are kept in {tmp_path}; to go on, give --model pixels and another --output_dir"
        assert said == f"caan eval: stopped; {kept}" and list(read(tmp_path).results) == ["pixels"]
    else:
        assert said == "caan eval: stopped; no numbers were written; to go on, run the same command again"
        assert not (tmp_path / "results.json").exists()


def test_a_caan_that_lacks_weights_is_not_measured_with_random_ones(tmp_path):
    model = caan_model()
    state = {name: tensor for name, tensor in model.state_dict().items() if "image_encoder.projection" not in name}
    model.save_pretrained(tmp_path / "model", state_dict=state)
    with pytest.raises(ValueError, match=r"cannot be loaded: \d of its weights are missing: image_encoder.projection"):
        load_retriever(str(tmp_path / "model"))


def test_a_models_own_folder_is_no_output(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "results.json").write_text("own")
    error = run_to_error("eval.py", arguments(tmp_path, "pixels"))
    assert f"{tmp_path} holds a model, and its own results would be replaced. Give another --output_dir" in error
    assert (tmp_path / "results.json").read_text() == "own"


def test_results_of_something_else_are_not_replaced(tmp_path):
    (tmp_path / "results.json").write_text('{"accuracy": 1}')
    error = run_to_error("eval.py", arguments(tmp_path, "pixels"))
    assert f"{tmp_path}/results.json is no record of an evaluation, and would be replaced. Move it away, or give" in error
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_a_size_that_no_model_takes_is_refused(tmp_path, backbone):
    """It would be in the record, and the numbers would be of another."""
    error = run_to_error("eval.py", arguments(tmp_path, "pixels", finished()[0], image_size=64))
    assert "error: image_size is of plain vision models, and --model names none" in error
    run_script("eval.py", arguments(tmp_path, "pixels", backbone, image_size=64, picture_rows=0))
    assert read(tmp_path).settings["image_size"] == 64


def test_a_picture_that_cannot_be_drawn_costs_no_numbers(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    (tmp_path / "retrieval_pixels.png").write_bytes(b"of an earlier run")
    monkeypatch.setattr(running_evaluation, "retrieval_picture", fail)
    error = run_to_error("eval.py", arguments(tmp_path, "pixels", picture_rows=2))
    assert "No space left on device" in error and list(read(tmp_path).results) == ["pixels"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "table.md"]


def test_an_output_folder_of_any_bytes(tmp_path):
    output = tmp_path / os.fsdecode(b"caf\xe9 \n")
    run_script("eval.py", arguments(output, "pixels", picture_rows=0))
    assert read(output).results and r"--output_dir=caf\udce9 \n" in (output / "table.md").read_text()


def test_a_device_that_computes_wrong_is_left_and_noted(tmp_path, monkeypatch):
    """A stand-in for Apple silicon: cpu:0, whose vectors are turned round."""
    true_vectors = pipeline_caan.trial_vectors

    def vectors(model, device, pixels):
        found = true_vectors(model, device, pixels)
        return found if device == torch.device("cpu") else -found

    monkeypatch.setattr(running_evaluation, "find_device", lambda name: torch.device("cpu:0"))
    monkeypatch.setattr(pipeline_caan, "UNTRUSTED", {"cpu"})
    monkeypatch.setattr(pipeline_caan, "trial_vectors", vectors)
    with pytest.warns(UserWarning, match="cpu:0 gives this model other vectors than the CPU does"):
        run_script("eval.py", arguments(tmp_path / "moved", "pixels", picture_rows=0))
    monkeypatch.undo()
    run_script("eval.py", arguments(tmp_path / "plain", "pixels", picture_rows=0))
    moved, plain = read(tmp_path / "moved"), read(tmp_path / "plain")
    assert moved.results["pixels"] == plain.results["pixels"]
    assert set(moved.notes) - set(plain.notes) == {"pixels was computed on the CPU: cpu:0 gave it other vectors"}
