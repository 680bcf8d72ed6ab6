"""The instance level against a slow formula, hand-worked rankings, and in caan eval.

python -m pytest tests/evaluation/test_instance.py
"""

import json
import random
import shutil

import pytest
import torch
from running import run_script, run_to_error, shapes
from trees import UNSEEN

from caan.data.benchmark import make_benchmark
from caan.data.pictures import load_splits
from caan.evaluation.evaluate import embed_benchmark, measure_instances
from caan.evaluation.instance import SCOPES, instance_metrics, score_instance_metrics
from caan.evaluation.record import Evaluation
from caan.evaluation.retrievers import load_retriever
from caan.evaluation.summary import metric_heading, results_markdown
from caan.options import DataOptions, EvalOptions

NAMES = ("class", "gallery")


def slow_ranks(scores, query, gallery, pessimistic: bool) -> tuple[int, int]:
    """Ranks of the best own photo within the class and in the gallery, in plain Python; 0 where it is not there.

    Args:
        scores: of one query, a list. query: (class, name). gallery: the same of each photo.
    """
    own = [i for i, thing in enumerate(gallery) if thing == query and query[1] is not None]
    if not own:
        return 0, 0
    found = []
    for scope in ([i for i, thing in enumerate(gallery) if thing[0] == query[0]], range(len(gallery))):
        if pessimistic:
            order = sorted(scope, key=lambda i: (-scores[i], i in own, i))
        else:
            order = sorted(scope, key=lambda i: (-scores[i], i))
        found.append(min(order.index(i) for i in own) + 1)
    return tuple(found)


def problem(seed: int, queries: int = 40, gallery: int = 60):
    """Things of three classes with few names, so that there are copies, and scores with ties."""
    draw = random.Random(seed)
    asked = [(draw.choice("xyz"), draw.choice(["a", "b", "c", "e", None])) for _ in range(queries)]
    shown = [(draw.choice("xyz"), draw.choice(["a", "b", "d", "f", None])) for _ in range(gallery)]
    scores = torch.randint(0, 12, (queries, gallery), generator=torch.Generator().manual_seed(seed)) / 7
    return asked, shown, scores


def columns(asked, shown):
    """Labels and instances of both sides, as the functions take them."""
    return *([thing[0] for thing in side] for side in (asked, shown)), *(
        [thing[1] for thing in side] for side in (asked, shown)
    )


@pytest.mark.parametrize("ties", ["gallery_order", "pessimistic"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_definition(seed, ties):
    asked, shown, scores = problem(seed)
    report = score_instance_metrics(scores.split(7), *columns(asked, shown), ties=ties, top_k=(1, 2, 5))
    ranks = [slow_ranks(row, query, shown, ties == "pessimistic") for row, query in zip(scores.tolist(), asked)]
    for column, scope in enumerate(NAMES):
        assert report.ranks[scope].tolist() == [rank[column] for rank in ranks]
        kept = [rank[column] for rank in ranks if rank[column]]
        for k in (1, 2, 5):
            assert report[f"acc_{k}_{scope}"] == pytest.approx(sum(rank <= k for rank in kept) / len(kept))
    pairless = sum(name is None for _, name in asked)
    assert report.num_queries == 40 and report.num_queries_without_pair == pairless > 0
    assert report.num_queries_without_photo == ranks.count((0, 0)) - pairless > 0


def test_by_hand():
    """A sketch of "a" among four photos of its class x and two of another, which are nearer than its own photo."""
    shown = [("x", "b"), ("x", "a"), ("x", None), ("y", "a"), ("y", "b"), ("x", "c")]
    scores = torch.tensor([[0.9, 0.5, 0.1, 0.8, 0.7, 0.2]])
    report = score_instance_metrics([scores], *columns([("x", "a")], shown), top_k=(1, 2, 3, 4))
    assert (report.ranks["class"].tolist(), report.ranks["gallery"].tolist()) == ([2], [4])
    assert report.metrics == {
        "acc_1_class": 0.0,
        "acc_2_class": 1.0,
        "acc_3_class": 1.0,
        "acc_4_class": 1.0,
        "acc_1_gallery": 0.0,
        "acc_2_gallery": 0.0,
        "acc_3_gallery": 0.0,
        "acc_4_gallery": 1.0,
    }
    assert (report.gallery_size, report.photos_per_class, report.num_queries) == (6, 4.0, 1)


def test_the_better_of_two_copies_counts():
    shown = [("x", "a"), ("x", "b"), ("x", "a"), ("x", "c")]
    report = score_instance_metrics([torch.tensor([[0.1, 0.5, 0.9, 0.7]])], *columns([("x", "a")], shown))
    assert report["acc_1_class"] == 1.0
    report = score_instance_metrics([torch.tensor([[0.5, 0.6, 0.5, 0.7]])], *columns([("x", "a")], shown), ties="pessimistic")
    assert report.ranks["class"].tolist() == [3]  # the copy is no wrong photo


@pytest.mark.parametrize("ties, rank", [("gallery_order", 3), ("pessimistic", 5)])
def test_a_model_that_gives_every_photo_one_vector(ties, rank):
    shown = [("x", name) for name in "bcade"]
    report = instance_metrics(torch.ones(1, 4), torch.ones(5, 4), *columns([("x", "a")], shown), ties=ties)
    assert report.ranks["class"].tolist() == [rank] and report["acc_1_gallery"] == 0


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_features_in_chunks_give_what_their_scores_give(similarity):
    asked, shown, _ = problem(5)
    generator = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(40, 6, generator=generator), torch.randn(60, 6, generator=generator)
    exact = {
        "cosine": torch.cosine_similarity(queries[:, None], gallery[None], dim=-1),
        "dot": queries @ gallery.T,
        "euclidean": -torch.cdist(queries, gallery),
    }[similarity]
    known = columns(asked, shown)
    expected = score_instance_metrics([exact], *known)
    for size in (1, 7, 40, None):
        report = instance_metrics(queries, gallery, *known, similarity=similarity, chunk_size=size)
        assert report.metrics == expected.metrics
        assert torch.equal(report.ranks["gallery"], expected.ranks["gallery"])


def test_labels_may_be_integers_in_a_tensor():
    labels = torch.tensor([0, 1]), torch.tensor([1, 0, 1])
    report = instance_metrics(torch.eye(2), torch.tensor([[0.0, 1], [1, 0], [1, 1]]), *labels, ["a", "a"], ["a", "a", None])
    assert report["acc_1_gallery"] == 1.0 and report.photos_per_class == 1.5


def test_the_report_says_what_was_left_out():
    asked = [("x", "a"), ("x", None), ("x", "gone"), ("y", "a")]
    files = ["x/a-1.png", "x/z.png", "x/gone-1.png", "y/a-1.png"]
    report = score_instance_metrics([torch.eye(4)[:, :2]], *columns(asked, [("x", "a"), ("x", "b")]), names=files)
    assert report.num_queries_without_pair == 1 and report.num_queries_without_photo == 2
    text = str(report)
    assert text.startswith("instance level: 1 queries with their own photo in a gallery of 2; photos a class: median 2\n")
    assert (
        "acc_5_gallery   1.0000  acc@5: share of sketches whose own photo is among the first 5 of the whole gallery\n" in text
    )
    assert (
        "note: the photos that 2 of 4 sketches were drawn from are not in the gallery, and these sketches are in no acc@K: "
        "x/gone-1.png, y/a-1.png\nnote: 1 of 4 sketches belong to no photo and are in no acc@K"
    ) in text


@pytest.mark.parametrize(
    "asked, said",
    [
        ([("x", None)], "none of the 1 sketches belongs to a photo: the data pair no sketches with photos"),
        ([("x", "c")], "the photos that the 1 paired sketches were drawn from are not among the 2 of the gallery"),
        ([("y", "a")], "are not among the 2 of the gallery"),  # the same name in another class
    ],
)
def test_no_pair_is_an_error(asked, said):
    with pytest.raises(ValueError, match=said):
        score_instance_metrics([torch.eye(1, 2)], *columns(asked, [("x", "a"), ("x", "b")]))


@pytest.mark.parametrize(
    "scores, options, said",
    [
        ([torch.full((2, 2), torch.nan)], {}, "scores hold NaN in 2 rows"),
        ([torch.eye(1, 2)], {}, "there are 2 query labels, but scores of 1 queries"),
        ([torch.eye(3, 2)], {}, r"scores reach row 3 of \(2,\) photos, but there are 2 queries and 2 photos"),
        ([torch.eye(2, 3)], {}, r"scores reach row 2 of \(3,\) photos"),
        ([torch.eye(2)], {"top_k": (0,)}, "every K must be a positive integer"),
        ([torch.eye(2)], {"ties": "lucky"}, "ties must be one of gallery_order, pessimistic"),
    ],
)
def test_wrong_input_is_named(scores, options, said):
    things = [("x", "a"), ("x", "b")]
    with pytest.raises(ValueError, match=said):
        score_instance_metrics(scores, *columns(things, things), **options)


def test_headings():
    assert metric_heading("acc_5_class") == "acc@5 (class)" and metric_heading("acc_10_gallery") == "acc@10 (gallery)"
    assert tuple(SCOPES) == NAMES


# -------------------------------------------------------------------------------------------------------------- caan eval


def arguments(output, *models, **options) -> list[str]:
    settings = {"dataset": "folder", "data_dir": shapes(), "num_workers": 0, "output_dir": output, "device": "cpu", **options}
    return ["--model", *models, "--instance", "--picture_rows=0", *(f"--{key}={value}" for key, value in settings.items())]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    output = tmp_path_factory.mktemp("instance")
    return output, run_script("eval.py", arguments(output, "pixels")).stdout


def test_eval_measures_the_instance_level(evaluated):
    """A class has sketches 0 to 9 and photos 0 to 7, which pair by their names."""
    output, printed = evaluated
    record = Evaluation.read(output / "results.json")
    benchmark = make_benchmark(load_splits(DataOptions(dataset="folder", data_dir=str(shapes()))))
    features = embed_benchmark(load_retriever("pixels"), benchmark)
    things = [
        [(label, file.rpartition("/")[2]) for label, file in zip(pictures.labels.tolist(), pictures.files)]
        for pictures in (benchmark.queries, benchmark.galleries[0])
    ]
    ranks = [slow_ranks(row, query, things[1], False) for row, query in zip((features[0] @ features[1].T).tolist(), things[0])]
    kept = [rank for rank in ranks if rank != (0, 0)]
    row = record.instance_results["pixels"]
    assert (row["num_queries"], row["num_queries_without_pair"], row["photos_per_class"], len(kept)) == (20, 4, 8.0, 16)
    for column, scope in enumerate(NAMES):
        for k in (1, 5, 10):
            assert row[f"acc_{k}_{scope}"] == pytest.approx(sum(rank[column] <= k for rank in kept) / 16)
    assert "instance level: 16 queries with their own photo in a gallery of 16; photos a class: median 8" in printed


def test_what_is_written_has_numbers_and_definitions(evaluated):
    output, printed = evaluated
    content = json.loads((output / "results.json").read_text())
    assert set(content["instance_definitions"]) == {f"acc_{k}_{scope}" for k in (1, 5, 10) for scope in NAMES}
    assert "acc_1_class" not in content["results"]["pixels"]  # they are numbers of other queries
    table = (output / "table.md").read_text()
    assert table in printed and "over 16 sketches; 8 photos a class in the median, 16 in the gallery" in table
    assert "| acc@1 (class) | acc@5 (class) |" in table and "\n- acc@1 (class): share of sketches whose own photo is" in table
    assert "4 of 20 sketches belong to no photo and are in no acc@K" in content["notes"]
    assert "--instance" in content["command"] and content["settings"]["instance"] is True
    assert results_markdown(Evaluation.read(output / "results.json")) == table


def test_records_from_before_have_no_instance_level(evaluated, tmp_path):
    content = json.loads((evaluated[0] / "results.json").read_text())
    content = {key: value for key, value in content.items() if not key.startswith("instance_")}
    (tmp_path / "results.json").write_text(json.dumps(content))
    record = Evaluation.read(tmp_path / "results.json")
    assert record.instance_results == {} and "nstance level" not in results_markdown(record)


def test_photos_of_seen_classes_join_the_gallery_and_not_the_class(evaluated, tmp_path):
    run_script("eval.py", arguments(tmp_path, "pixels", generalized=True))
    alone, joined = (Evaluation.read(path / "results.json").instance_results["pixels"] for path in (evaluated[0], tmp_path))
    assert joined["gallery_size"] == 56 and joined["photos_per_class"] == 8
    assert all(joined[f"acc_{k}_class"] == alone[f"acc_{k}_class"] for k in (1, 5, 10))
    assert all(joined[f"acc_{k}_gallery"] <= alone[f"acc_{k}_gallery"] for k in (1, 5, 10))


def test_sketches_whose_photo_is_gone_are_named_without_a_path(tmp_path):
    """Data that say themselves what a sketch was drawn from, as Sketchy's do."""
    benchmark = make_benchmark(load_splits(DataOptions(dataset="folder", data_dir=str(shapes()))))
    queries = benchmark.queries
    queries.instances = [name or "gone" for name in queries.instances]
    report = measure_instances(embed_benchmark(load_retriever("pixels"), benchmark), benchmark)
    assert report.num_queries_without_photo == 4 and report.num_queries_without_pair == 0
    named = ", ".join(f"{name}/{number}.png" for name in UNSEEN for number in (8, 9))
    assert report.notes[0].endswith(f"are in no acc@K: {named}")


def test_data_without_pairs_are_refused_by_name(tmp_path):
    root = tmp_path / "data"
    shutil.copytree(shapes(), root)
    for file in list((root / "photo").rglob("*.png")):
        file.rename(file.with_name(f"other_{file.name}"))
    error = run_to_error("eval.py", arguments(tmp_path / "out", "pixels", data_dir=root))
    told = error.splitlines()[-1]
    assert "instance needs sketches with their own photos, and folder, split test, has none: its sketches belong to no" in told
    assert told.endswith("Leave it out.")
    assert not (tmp_path / "out" / "results.json").exists()


def test_it_is_off_by_default():
    assert EvalOptions().instance is False
