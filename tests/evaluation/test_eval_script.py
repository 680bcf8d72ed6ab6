"""eval.py as a user runs it.  python -m pytest tests/evaluation/test_eval_script.py"""

import json

import pytest
import transformers
from PIL import Image
from running import finished, run_script, run_to_error, shapes
from tiny import vision_config

from caan.data.benchmark import make_benchmark
from caan.evaluation.evaluate import embed_benchmark, evaluate
from caan.evaluation.metrics import retrieval_metrics
from caan.evaluation.reranking import rerank
from caan.evaluation.retrievers import load_retriever


def arguments(output, *models, **options) -> list[str]:
    settings = {"dataset": "folder", "data_dir": shapes(), "num_workers": 0, "output_dir": output, **options}
    lists = {key: value for key, value in settings.items() if isinstance(value, list)}
    flat = [f"--{key}={value}" for key, value in settings.items() if key not in lists]
    return ["--model", *map(str, models), *flat, *(part for k, v in lists.items() for part in (f"--{k}", *map(str, v)))]


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


def test_each_model_is_measured_as_by_the_library(evaluated):
    output, run, models = evaluated
    content = json.loads((output / "results.json").read_text())
    assert list(content["results"]) == [str(name) for name in models]
    for name in models:
        report = evaluate(load_retriever(str(name)), run.variables["benchmark"], {"top_k": (3, 5)})
        row = content["results"][str(name)]
        for metric, value in report.metrics.items():
            assert row[metric] == pytest.approx(value, abs=1e-9), (name, metric)
        assert row["gallery_size"] == 16 and row["num_queries"] == 20


def test_the_results_tell_their_circumstances(evaluated):
    output, _, models = evaluated
    content = json.loads((output / "results.json").read_text())
    assert (content["dataset"], content["split"], content["generalized"], content["device"]) == ("folder", "test", False, "cpu")
    assert content["top_k"] == [3, 5] and content["dataset_config"]
    assert "python eval.py --model " in content["command"] and content["versions"]["caan"]
    assert content["definitions"]["prec_3"] == "Prec@3: hits in the top 3, divided by 3"


def test_table_and_pictures(evaluated):
    output, run, models = evaluated
    table = (output / "table.md").read_text()
    assert table in run.stdout and len(table.splitlines()) == 2 + len(models)
    for name in models:
        image = Image.open(output / f"retrieval_{name if name == 'pixels' else name.name}.png")
        assert image.width > 1000
    assert f"results: {output / 'results.json'}" in run.stdout
    assert "20 queries in a gallery of 16" in run.stdout


def test_generalized_and_validation(tmp_path):
    run_script("eval.py", arguments(tmp_path / "all", "pixels", generalized=True, picture_rows=0))
    row = json.loads((tmp_path / "all" / "results.json").read_text())["results"]["pixels"]
    assert (row["gallery_size"], row["num_queries"]) == (56, 20)
    assert not list((tmp_path / "all").glob("*.png"))
    run_script("eval.py", arguments(tmp_path / "seen", "pixels", split="validation", picture_rows=0, average="macro"))
    content = json.loads((tmp_path / "seen" / "results.json").read_text())
    row = content["results"]["pixels"]
    assert (row["gallery_size"], row["num_queries"], row["average"], content["split"]) == (5, 10, "macro", "validation")


def test_reranking_is_measured_on_what_the_library_reranks(tmp_path):
    run = run_script("eval.py", arguments(tmp_path, "pixels", rerank=3, picture_rows=0))
    content = json.loads((tmp_path / "results.json").read_text())
    benchmark = run.variables["benchmark"]
    features = rerank(*embed_benchmark(load_retriever("pixels"), benchmark), 3)
    expected = retrieval_metrics(*features, benchmark.queries.labels, benchmark.gallery_labels)
    assert content["rerank"] == 3 and content["results"]["pixels"]["map_all"] == pytest.approx(expected["map_all"])


def test_models_of_one_name_have_pictures_of_their_own(tmp_path, backbone):
    other = tmp_path / backbone.name
    transformers.AutoModel.from_config(vision_config()).save_pretrained(other)
    output = tmp_path / "out"
    run_script("eval.py", arguments(output, backbone, other, picture_rows=1, top_k=[1]))
    assert len(list(output.glob("*.png"))) == 2


@pytest.mark.parametrize(
    "models,options,message",
    [
        (["no/such"], {}, "error: model 'no/such' cannot be loaded"),
        (["pixels"], {"data_dir": "no/data"}, "error: Own sketches and photos: data_dir no/data does not exist"),
        (["pixels"], {"dataset": "nothing"}, "error: No data set 'nothing'"),
        (["pixels"], {"split": "validation", "generalized": True}, "error: generalized adds the seen classes"),
        (["pixels"], {"rerank": 5, "update_card": True}, "A card shows the model's own ranking"),
        (["pixels"], {"top_k": [0]}, "error: every K must be a positive integer"),
        (["pixels"], {"splt": "test"}, "eval.py: error: unknown option 'splt', did you mean 'split'?"),
    ],
)
def test_bad_input_is_told_in_one_message(tmp_path, models, options, message):
    error = run_to_error("eval.py", arguments(tmp_path / "out", *models, **options))
    assert message in error and "Traceback" not in error
    assert not (tmp_path / "out" / "results.json").exists()


def test_the_benchmark_is_the_split(evaluated):
    benchmark = evaluated[1].variables["benchmark"]
    assert benchmark.queries.files == make_benchmark(evaluated[1].variables["splits"]).queries.files
