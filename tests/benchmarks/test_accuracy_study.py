"""The accuracy studies: baselines, bookkeeping, tables.  python -m pytest tests/benchmarks/test_accuracy_study.py"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from running import forget_accelerate, shapes
from tiny import batch, caan_model, image_processor

from benchmarks.accuracy.baselines import CosineClassifier, PairScorer
from benchmarks.accuracy.study import Row, Run, add_results, judge, read_results, run_row, run_study
from benchmarks.accuracy.summary import shared_runs, summarise
from caan.data.benchmark import make_benchmark
from caan.data.pictures import load_splits
from caan.options import DataOptions, ModelOptions, TrainOptions
from caan.training.tuning import tune_encoders
from modeling_caan import join

PIXELS = {name: value for name, value in batch().items() if "pixel" in name or name == "labels"}


def plain_caan():
    return caan_model(use_text=False, share_vision_encoder=True)


@pytest.fixture
def run():
    forget_accelerate()
    data = DataOptions(dataset="folder", data_dir=str(shapes()), num_workers=0)
    splits = load_splits(data)
    options = TrainOptions(
        classes_per_batch=4, items_per_class=2, num_epochs=2, batches_per_epoch=3, learning_rate=0.01, cpu=True
    )
    return Run(ModelOptions(), data, options, splits, make_benchmark(splits, "test"))


# -------------------------------------------------------------------------------------------------------------- baselines


def test_classification_is_cross_entropy_of_cosines_over_both_modalities():
    torch.manual_seed(0)
    model = CosineClassifier(plain_caan(), num_classes=3).eval()
    expected = []
    for name, features in (("pixel_values", model.get_image_features), ("sketch_pixel_values", model.get_sketch_features)):
        for feature, label in zip(features(PIXELS[name]), PIXELS["labels"]):
            cosines = torch.stack([F.cosine_similarity(feature, c, dim=0) for c in model.classes]) / model.config.temperature
            expected.append(cosines.logsumexp(0) - cosines[label])
    assert model(**PIXELS).loss.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)


def test_candidates_at_once_score_as_one_by_one():
    model = PairScorer(plain_caan()).eval()
    candidates = torch.tensor([[0, 3], [5, 1], [2, 2], [4, 0], [1, 5], [3, 4]])
    with torch.no_grad():
        sketches, photos = (model.caan.encode(PIXELS[n], "photo") for n in ("sketch_pixel_values", "pixel_values"))
        scores = model.score_candidates(join(sketches), join(photos), photos.grid, candidates)
        for query, column in ((0, 0), (1, 0), (5, 1)):
            photo = candidates[query, column]
            pair = model.attend(join(sketches)[query][None], join(photos)[photo][None])
            assert scores[query, column].item() == pytest.approx(model.relation(*pair, photos.grid).item(), abs=1e-6)


def test_the_other_side_changes_a_pair_s_tokens():
    model = PairScorer(plain_caan()).eval()
    with torch.no_grad():
        tokens = join(model.caan.encode(PIXELS["pixel_values"], "photo"))
        first, second = (model.attend(tokens[:1], tokens[i : i + 1])[0] for i in (1, 2))
    assert not torch.allclose(first, second, atol=1e-4)


@pytest.mark.parametrize("make", [lambda: CosineClassifier(plain_caan(), 3), lambda: PairScorer(plain_caan())])
def test_baselines_train_the_encoder(make):
    model = make()
    model(**PIXELS).loss.backward()
    assert model.vision_towers()[0].projection.weight.grad.abs().sum() > 0


# ------------------------------------------------------------------------------------------------------------ the study


def test_a_row_is_trained_and_judged(run):
    def build(run):
        return CosineClassifier(plain_caan(), 5), image_processor(), None

    (record,) = run_row(Row("classes", build), run).values()
    assert record["images_seen"] == 2 * 8 * 3 * 2 and record["seconds"] > 0
    assert record["trained_parameters"] == sum(p.numel() for p in build(run)[0].parameters())
    assert (record["num_queries"], record["gallery_size"]) == (len(run.benchmark.queries), len(run.benchmark.galleries[0]))
    frozen = run_row(Row("frozen", build, trains=False), run)["frozen"]
    assert "images_seen" not in frozen and frozen["trained_parameters"] == 0
    assert frozen["map_all"] != record["map_all"]


def test_scores_that_rank_all_hits_first_are_perfect(run):
    hits = run.benchmark.queries.labels[:, None] == run.benchmark.gallery_labels[None]
    assert judge(hits.float(), run.benchmark)["map_all"] == 1
    assert judge(-hits.float(), run.benchmark)["top1"] == 0


def test_results_are_kept_replaced_and_not_lost(tmp_path):
    path, key = tmp_path / "runs.json", {"fold": 0, "seed": 0, "epochs": 2}
    values = {"map_all": 0.25, "prec_25": 0.5, "top1": 0.75}
    add_results(path, "CAAN", key, {"CAAN": values, "CAAN, re-ranked": values})
    add_results(path, "CAAN", {**key, "fold": 1}, {"CAAN": values})
    add_results(path, "CAAN", {**key, "study": "another"}, {"CAAN": {**values, "map_all": 0.5}})
    found = [(r["row"], r["fold"], r["map_all"]) for r in read_results(path)]
    assert sorted(found) == [("CAAN", 0, 0.5), ("CAAN", 1, 0.25)]
    assert {"metrics", "command", "versions"} < json.loads(path.read_text()).keys()


def test_what_has_a_result_is_not_run_again(tmp_path, monkeypatch, run, capsys):
    from benchmarks.accuracy import study

    monkeypatch.setattr(study, "prepare", lambda options, fold, seed: run)
    ran = []

    def build(run):
        ran.append(1)
        return plain_caan(), image_processor(), None

    shown = []
    options = study.StudyOptions(output_dir=str(tmp_path))
    for _ in range(2):
        run_study("s", [Row("a", build, trains=False)], options, lambda results, path: shown.append(len(results)))
    assert len(ran) == 1 and shown == [1, 1]
    assert "a, fold 0, seed 0: there is a result" in capsys.readouterr().out
    options.again = True
    run_study("s", [Row("a", build, trains=False)], options, lambda results, path: shown.append(len(results)))
    assert len(ran) == 2 and shown[-1] == 1


@pytest.mark.parametrize("tune, ema_decay", [("all", 0.0), ("lora", 0.5)])
def test_trained_models_are_kept_where_that_is_asked_for(tmp_path, monkeypatch, run, tune, ema_decay):
    """What was judged is what loads: with whitening, at the size of inference, without text tower, averaged and merged."""
    if tune == "lora":
        pytest.importorskip("peft")
    from benchmarks.accuracy import study
    from benchmarks.accuracy.rows import trained
    from caan.evaluation.retrievers import load_retriever

    run = run._replace(model_options=replace(run.model_options, inference_image_size=40))
    monkeypatch.setattr(study, "prepare", lambda options, fold, seed: run)

    def build(run):
        tune_encoders(model := caan_model(use_text=False, whitening=0.5), ModelOptions(tune=tune))
        return model, image_processor(), None

    options = study.StudyOptions(output_dir=str(tmp_path), keep_models=str(tmp_path / "kept"))
    frozen = Row("frozen", build, trains=False)
    whole = trained("Whole, of it", build, whitened=True, ema_decay=ema_decay)
    run_study("s", [whole, frozen], options, lambda results, path: None)
    (folder,) = (tmp_path / "kept").iterdir()
    assert folder.name == "whole_of_it-fold0-seed0-2ep"
    kept = load_retriever(str(folder))
    assert kept.processor.size == {"height": 40, "width": 40}
    found = judge(study.cosine_scores(kept.model, kept.processor, run), run.benchmark)["map_all"]
    (result,) = [r["map_all"] for r in read_results(tmp_path / "runs.json") if r["row"] == "Whole, of it"]
    assert found == pytest.approx(result, abs=1e-5)


def test_a_row_that_two_studies_share_is_run_once(tmp_path, monkeypatch, run):
    from benchmarks.accuracy import study

    monkeypatch.setattr(study, "prepare", lambda options, fold, seed: run)
    ran, shown = [], {}

    def row(name):
        return Row(name, lambda run: (ran.append(name), (plain_caan(), image_processor(), None))[1], trains=False)

    options = study.StudyOptions(output_dir=str(tmp_path))
    for name, rows in (("one", "ab"), ("two", "bc")):
        run_study(
            name, [row(r) for r in rows], options, lambda results, path: shown.update({path.name: [r["row"] for r in results]})
        )
    assert ran == ["a", "b", "c"] and shown == {"one": ["a", "b"], "two": ["b", "c"]}
    assert [r["study"] for r in read_results(tmp_path / "runs.json")] == ["one", "one", "two"]


def test_a_row_s_own_options_reach_the_optimizer(run, monkeypatch):
    from caan.training import loop

    rates = []
    build_optimizer = loop.build_optimizer
    monkeypatch.setattr(loop, "build_optimizer", lambda m, o: (rates.append(o.vision_learning_rate), build_optimizer(m, o))[1])
    build = lambda run: (CosineClassifier(plain_caan(), 5), image_processor(), None)  # noqa: E731
    run_row(Row("slow", build, options={"vision_learning_rate": 0.001}), run)
    run_row(Row("as the recipe", build), run)
    assert rates == [0.001, run.train.vision_learning_rate]


def test_peers_read_lines_unless_a_row_says_shaded(run):
    from benchmarks.accuracy.rows import on_lines

    run = run._replace(model_options=replace(run.model_options, sketch_shade=0.5))
    build = lambda run: (None, image_processor(sketch_shade=run.model_options.sketch_shade), None)  # noqa: E731
    assert build(run)[1].sketch_shade == 0.5 and on_lines(build)(run)[1].sketch_shade == 0


def test_the_last_step_of_the_recipe_study_is_the_recipe():
    from benchmarks.accuracy.recipe import LAST, ROWS

    recipe = yaml.safe_load(Path("recipes/sketchy_small.yaml").read_text())
    (last,) = [row for row in ROWS if row.name == LAST]
    assert last.options == {name: recipe[name] for name in ("classes_per_batch", "vision_learning_rate")}


def test_a_study_has_defaults_of_its_own(monkeypatch):
    from benchmarks.accuracy.study import parse_study

    monkeypatch.setattr("sys.argv", ["study", "--num_epochs", "3"])
    options = parse_study("A study.", fold=[4], num_epochs=1)
    assert (options.fold, options.num_epochs, options.seed) == ([4], 3, [0])


def test_mean_and_spread_over_runs():
    common = {"row": "CAAN", "trained_as": "CAAN", "epochs": 2, "prec_25": 0.5, "top1": 0.5, "trained_parameters": 2_000_000}
    results = [
        {**common, "fold": fold, "seed": 0, "map_all": value, "images_seen": 100, "seconds": 25.0, "threads": 2}
        for fold, value in enumerate((0.4, 0.5, 0.6))
    ]
    results.append({**common, "row": "frozen", "trained_as": "frozen", "epochs": 0, "fold": 0, "seed": 0, "map_all": 0.1})
    frozen, caan = summarise(results, ["frozen", "CAAN"], "CAAN")
    assert (caan["row"], caan["runs"], caan["mAP@all"]) == ("CAAN", 3, "0.500 ± 0.100")
    assert (caan["images/s a thread"], caan["images seen"], caan["parameters (M)"]) == (2.0, 100, 2.0)
    assert (frozen["mAP@all"], frozen["images/s a thread"]) == ("0.100", None)
    assert (frozen["over CAAN"], caan["over CAAN"]) == ("-0.300", None)  # over fold 0 alone, which both have
    (gain,) = [line["over frozen"] for line in summarise(results, ["frozen", "CAAN"], "frozen") if line["row"] == "CAAN"]
    assert gain is None  # a frozen row has no epochs to pair by


def test_the_table_says_what_it_was_measured_on(tmp_path):
    from benchmarks.accuracy.summary import write_table

    frozen = {"row": "frozen", "trained_as": "frozen", "fold": 0, "seed": 0, "epochs": 0, "trained_parameters": 0}
    frozen |= {"map_all": 0.1, "prec_25": 0.1, "top1": 0.1, "num_queries": 500, "gallery_size": 400}
    results = [frozen] + [
        {**frozen, "row": "CAAN", "trained_as": "CAAN", "epochs": 2, "precision": p, "fold": f, "trained_parameters": 3}
        for p, f in (("bf16", 0), ("no", 1))
    ]
    write_table(results, ["frozen", "CAAN"], tmp_path / "peers", "CAAN")
    said = (tmp_path / "peers.md").read_text().splitlines()[0]
    assert "(fold, seed): (0, 0), (1, 0); (queries, gallery): (500, 400)" in said
    assert "trained in bfloat16 and float32" in said
    write_table([frozen], ["frozen"], tmp_path / "frozen", "CAAN")
    assert (tmp_path / "frozen.md").read_text().splitlines()[0].endswith("over runs; judged in float32.")


def test_the_figure_shows_the_runs_that_all_rows_have():
    runs = {"plain": (0, 1, 2), "CAAN": (2, 0)}
    results = [
        {"row": row + more, "trained_as": row, "fold": f, "seed": 0} for row in runs for f in runs[row] for more in ("", "!")
    ]
    assert {(r["row"], r["fold"]) for r in shared_runs(results)} == {
        (n, f) for n in ("plain", "plain!", "CAAN", "CAAN!") for f in (0, 2)
    }
    assert shared_runs([r for r in results if r["fold"] == 1 or r["trained_as"] == "CAAN"]) == []


def test_differences_are_taken_run_by_run():
    from benchmarks.accuracy.summary import difference

    def runs(row, **values):
        return [{"row": row, "fold": int(f[1:]), "seed": 0, "epochs": 2, "map_all": v} for f, v in values.items()]

    plain, caan = runs("plain", f0=0.2, f1=0.6, f2=0.9), runs("CAAN", f0=0.3, f1=0.8)
    assert difference(caan, plain) == "+0.150 ± 0.071"  # 0.1 and 0.2
    assert difference(caan[:1], plain) == "+0.100"
    assert difference(runs("CAAN", f4=0.5), plain) is None and difference(plain, plain) is None
    assert difference(caan, []) is None
    longer = [{**r, "epochs": 3} for r in caan]
    assert difference(longer, plain) is None


def test_the_curves_of_lambdas_pass_through_the_recipe():
    from benchmarks.accuracy.lambdas import RECIPE, ROWS

    config = yaml.safe_load(Path("recipes/sketchy_small.yaml").read_text())["model_config"]
    assert config["lambda_tri"] == config["lambda_rn"] == RECIPE
    assert len(ROWS) == 5


def test_missing_data_is_told(tmp_path):
    from benchmarks.accuracy.study import StudyOptions, prepare

    with pytest.raises(SystemExit, match="there is no folder none: give --data_dir and --models"):
        prepare(StudyOptions(data_dir=str(tmp_path / "none")), 0, 0)


def test_smollm2_describes_each_seen_class_and_no_other():
    from benchmarks.accuracy.prompts import SMOLLM2
    from caan.descriptions import split_classes
    from dataset_scripts import read_descriptions

    written = read_descriptions(str(SMOLLM2))
    assert set(written) == set(split_classes("sketchy", "104_21")) and all(written.values())
