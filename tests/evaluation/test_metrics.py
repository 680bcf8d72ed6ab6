"""Retrieval metrics against a slow formula written from the definitions, hand-worked rankings, scikit-learn, and properties."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from caan.evaluation.metrics import RetrievalAccumulator, best_photos, retrieval_metrics, score_metrics
from caan.evaluation.report import results_table


def slow_metrics(order, relevant, top_k, ap_k):
    """All metrics of one query in plain Python: `order` is gallery indices from best to worst, `relevant` a set of them."""
    hits = [index in relevant for index in order]

    def average_precision(k, divisor, envelope=False):
        precisions = [sum(hits[:rank]) / rank for rank in range(1, min(k, len(hits)) + 1)]
        at_hits = [max(precisions[i:]) if envelope else p for i, p in enumerate(precisions) if hits[i]]
        return sum(at_hits) / divisor if divisor else 0.0

    return {
        "map_all": average_precision(len(order), len(relevant)),
        f"map_{ap_k}": average_precision(ap_k, min(ap_k, len(relevant))),
        f"map_{ap_k}_hits": average_precision(ap_k, sum(hits[:ap_k])),
        **{f"prec_{k}": sum(hits[:k]) / k for k in top_k},
        "top1": float(hits[0]),
        "map_all_voc": average_precision(len(order), len(relevant), envelope=True),
        f"map_{ap_k}_voc": average_precision(ap_k, min(ap_k, len(relevant)), envelope=True),
    }


def slow_similarity(kind, a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return {"dot": dot, "cosine": dot / math.hypot(*a) / math.hypot(*b), "euclidean": -math.dist(a, b)}[kind]


def problem(num_queries=12, gallery_size=90, dim=8, classes=4, seed=0):
    """Random features and labels of queries and gallery."""
    rng = torch.Generator().manual_seed(seed)
    features = [torch.randn(count, dim, generator=rng) for count in (num_queries, gallery_size)]
    labels = [torch.randint(classes, (count,), generator=rng) for count in (num_queries, gallery_size)]
    return *features, *labels


def one_query(scores, relevant, **options):
    """The report of a single ranking."""
    accumulator = RetrievalAccumulator(**options)
    accumulator.update(torch.tensor([scores]), torch.tensor([relevant]).bool())
    return accumulator.compute()


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_equals_the_definitions(similarity):
    queries, gallery, query_labels, gallery_labels = problem()
    options = {"similarity": similarity, "top_k": (10, 30), "ap_k": 20, "voc": True, "per_query": True}
    report = retrieval_metrics(queries, gallery, query_labels, gallery_labels, **options)
    for row, query in enumerate(queries.tolist()):
        scores = [slow_similarity(similarity, query, photo) for photo in gallery.tolist()]
        order = sorted(range(len(scores)), key=lambda index: -scores[index])  # noqa: B023
        relevant = set((gallery_labels == query_labels[row]).nonzero().flatten().tolist())
        expected = slow_metrics(order, relevant, top_k=(10, 30), ap_k=20)
        assert {name: float(values[row]) for name, values in report.per_query.items()} == pytest.approx(expected, abs=1e-12)
    assert report.metrics == pytest.approx({name: float(values.mean()) for name, values in report.per_query.items()})


def test_a_hand_worked_ranking():
    # Ranks 1 to 6 are hit, miss, hit, miss, miss, hit; R = 3. Precisions at the hits: 1/1, 2/3, 3/6.
    report = one_query([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [1, 0, 1, 0, 0, 1], top_k=(2, 4), ap_k=4, voc=True)
    assert report.metrics == pytest.approx(
        {
            "map_all": (1 + 2 / 3 + 1 / 2) / 3,  # 0.7222
            "map_4": (1 + 2 / 3) / 3,  # 0.5556: min(4, 3) = 3
            "map_4_hits": (1 + 2 / 3) / 2,  # 0.8333: two hits in the top 4
            "prec_2": 1 / 2,
            "prec_4": 2 / 4,
            "top1": 1.0,
            "map_all_voc": (1 + 2 / 3 + 1 / 2) / 3,  # precisions fall already: the envelope changes nothing
            "map_4_voc": (1 + 2 / 3) / 3,
        }
    )


def test_the_envelope_lifts_an_early_miss():
    # miss, hit, hit, miss, miss, hit: precisions at hits 1/2, 2/3, 3/6; the envelope makes the first 2/3.
    report = one_query([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], [0, 1, 1, 0, 0, 1], ap_k=2, voc=True)
    assert report["map_all"] == pytest.approx((1 / 2 + 2 / 3 + 1 / 2) / 3)
    assert report["map_all_voc"] == pytest.approx((2 / 3 + 2 / 3 + 1 / 2) / 3)
    assert report["map_2_voc"] == pytest.approx((1 / 2) / 2)  # the hit at rank 3 is out of sight: no lift
    assert report["top1"] == 0.0


def test_perfect_and_worst_rankings():
    perfect = one_query([4.0, 3.0, 2.0, 1.0], [1, 1, 0, 0], top_k=(2,), ap_k=2)
    assert set(perfect.metrics.values()) == {1.0}
    worst = one_query([4.0, 3.0, 2.0, 1.0], [0, 0, 1, 1], top_k=(2,), ap_k=2)
    assert worst["map_all"] == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert worst["map_2"] == worst["map_2_hits"] == worst["prec_2"] == worst["top1"] == 0.0


def test_equals_scikit_learn_without_ties():
    queries, gallery, query_labels, gallery_labels = problem(num_queries=20, gallery_size=300, seed=3)
    report = retrieval_metrics(
        queries.double(), gallery.double(), query_labels, gallery_labels, similarity="dot", per_query=True
    )
    scores = (queries.double() @ gallery.double().T).numpy()
    expected = [average_precision_score((gallery_labels == label).numpy(), row) for label, row in zip(query_labels, scores)]
    assert report.per_query["map_all"].tolist() == pytest.approx(expected, abs=1e-12)


def test_map_is_at_most_precision_when_enough_is_relevant():
    queries, gallery, query_labels, gallery_labels = problem(num_queries=40, gallery_size=400, classes=3, seed=1)
    gallery[gallery_labels == 0] += 1
    report = retrieval_metrics(queries, gallery, query_labels, gallery_labels, top_k=(50,), ap_k=50, per_query=True)
    assert report.relevant_min >= 50
    assert (report.per_query["map_50"] <= report.per_query["prec_50"] + 1e-12).all()
    assert report["map_50_hits"] > report["map_50"]


@pytest.mark.parametrize("chunk_size", [1, 5, 1000])
@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_chunk_size_and_rounding_change_nothing(chunk_size, similarity):
    # Features of +1 and -1: all lengths are equal, so the three similarities rank alike, and equal scores are plenty.
    # Their products are whole numbers, so float32 keeps the ties of "dot" exactly; the others must not break one by rounding.
    queries, gallery, query_labels, gallery_labels = problem(gallery_size=300, dim=33)
    data = queries.sign(), gallery.sign(), query_labels, gallery_labels
    exact = score_metrics([data[0] @ data[1].T], query_labels, gallery_labels, voc=True)
    report = retrieval_metrics(*data, similarity=similarity, chunk_size=chunk_size, voc=True)
    assert report.metrics == pytest.approx(exact.metrics, abs=1e-12)


@pytest.mark.parametrize("chunk_size", [1, 5, 1000])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_what_is_zero_but_for_rounding_is_a_tie(chunk_size, similarity):
    # As above in 32 dimensions, where a seventh of the products are 0; lengths of a third are no exact numbers.
    queries, gallery, query_labels, gallery_labels = problem(gallery_size=300, dim=32)
    queries, gallery = queries.sign(), gallery.sign()
    assert (queries @ gallery.T == 0).float().mean() > 0.1
    exact = score_metrics([queries @ gallery.T], query_labels, gallery_labels)
    report = retrieval_metrics(
        queries.double() / 3, gallery.double() / 3, query_labels, gallery_labels, similarity=similarity, chunk_size=chunk_size
    )
    assert report.metrics == pytest.approx(exact.metrics, abs=1e-12)


def test_order_of_queries_and_gallery_changes_nothing_without_ties():
    queries, gallery, query_labels, gallery_labels = problem()
    q, g = torch.randperm(len(queries)), torch.randperm(len(gallery))
    report = retrieval_metrics(queries, gallery, query_labels, gallery_labels)
    shuffled = retrieval_metrics(queries[q], gallery[g], query_labels[q], gallery_labels[g])
    assert shuffled.metrics == pytest.approx(report.metrics, abs=1e-12)


def test_ties_rank_in_gallery_order():
    # All equal: the ranking is the gallery itself. Hits at ranks 2 and 3: (1/2 + 2/3) / 2.
    assert one_query([0.5] * 4, [0, 1, 1, 0])["map_all"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    # 0.7 is first; of the three 0.5 the relevant one is second in the gallery: ranks 1 and 3.
    assert one_query([0.5, 0.5, 0.7, 0.5], [0, 1, 1, 0])["map_all"] == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_pessimistic_ties_put_irrelevant_photos_first_in_any_gallery_order():
    # Scores 0.7 (hit), then three 0.5 of which one is a hit: ranks 1 and 4, wherever they lie in the gallery.
    scores, relevant = torch.tensor([0.7, 0.5, 0.5, 0.5]), torch.tensor([1, 1, 0, 0])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        report = one_query(scores[order].tolist(), relevant[order].tolist(), ties="pessimistic")
        assert report["map_all"] == pytest.approx((1 / 1 + 2 / 4) / 2)


def test_negative_zero_and_infinite_scores():
    # -0.0 and 0.0 tie, so gallery order decides; -inf (a masked photo) ranks last, inf first.
    assert one_query([-0.0, 0.0], [1, 0])["top1"] == 1.0
    assert one_query([0.0, -0.0], [0, 1])["top1"] == 0.0
    report = one_query([-math.inf, -5.0, math.inf, 3.0], [1, 0, 1, 0])
    assert report["map_all"] == pytest.approx((1 / 1 + 2 / 4) / 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_float_types_are_compared_as_float32_would_be(dtype):
    queries, gallery, query_labels, gallery_labels = problem()
    queries, gallery = queries.to(dtype), gallery.to(dtype)
    report = retrieval_metrics(queries, gallery, query_labels, gallery_labels)
    same = retrieval_metrics(queries.float(), gallery.float(), query_labels, gallery_labels)
    assert report.metrics == pytest.approx(same.metrics, abs=1e-12)


def test_gradients_numpy_and_names_are_welcome():
    queries, gallery, query_labels, gallery_labels = problem()
    names = ["cat", "dog", "hot-air_balloon", "palm tree"]
    expected = retrieval_metrics(queries, gallery, query_labels, gallery_labels)
    named = retrieval_metrics(
        queries.requires_grad_(), gallery, [names[x] for x in query_labels], np.array([names[x] for x in gallery_labels])
    )
    assert named.metrics == expected.metrics
    assert {names[label]: means for label, means in expected.per_class.items()} == named.per_class
    assert (
        retrieval_metrics(queries.detach().numpy(), gallery.numpy(), query_labels, gallery_labels).metrics == expected.metrics
    )


def test_macro_is_the_mean_of_class_means():
    # Class a has two queries (top1 1 and 0), class b one (top1 1): micro 2/3, macro (1/2 + 1) / 2.
    gallery, gallery_labels = torch.eye(2), ["a", "b"]
    queries, query_labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), ["a", "a", "b"]
    assert retrieval_metrics(queries, gallery, query_labels, gallery_labels)["top1"] == pytest.approx(2 / 3)
    macro = retrieval_metrics(queries, gallery, query_labels, gallery_labels, average="macro")
    assert macro["top1"] == pytest.approx(3 / 4)
    assert macro.per_class["a"]["top1"] == 0.5
    assert macro.average == "macro"


def test_queries_without_a_relevant_photo_are_left_out_and_counted():
    queries, gallery, query_labels, gallery_labels = problem()
    report = retrieval_metrics(queries, gallery, query_labels, gallery_labels)
    more = retrieval_metrics(
        torch.cat([queries, queries[:3]]), gallery, query_labels.tolist() + [77] * 3, gallery_labels, per_query=True
    )
    assert more.metrics == pytest.approx(report.metrics, abs=1e-12)
    assert (more.num_queries, more.num_queries_without_relevant) == (15, 3)
    assert more.per_query["map_all"].isnan().tolist() == [False] * 12 + [True] * 3
    assert "3 of 15 queries have no relevant photo" in str(more)
    assert 77 not in more.per_class


def test_k_beyond_the_gallery_is_divided_by_k_and_noted():
    report = one_query([3.0, 2.0, 1.0], [1, 1, 0], top_k=(100,), ap_k=200)
    assert report["prec_100"] == 2 / 100
    assert report["map_200"] == report["map_all"] == 1.0
    assert any("smaller than 100" in note for note in report.notes)


def test_the_report_is_json_and_says_what_was_measured():
    queries, gallery, query_labels, gallery_labels = problem(gallery_size=1300)
    report = retrieval_metrics(queries, gallery, query_labels, gallery_labels, voc=True)
    flat = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    counts = sorted(int((gallery_labels == label).sum()) for label in query_labels)
    assert flat["gallery_size"] == 1300
    assert flat["num_queries"] == 12
    assert flat["relevant_min"] == counts[0]
    assert flat["relevant_median"] == (counts[5] + counts[6]) / 2
    assert set(report.definitions) == set(report.metrics)
    text = str(report)
    assert "gallery of 1,300" in text
    assert "min(200, R)" in text
    assert all(f"{value:.4f}" in text for value in report.metrics.values())


def test_score_chunks_of_any_size_give_the_same_report():
    queries, gallery, query_labels, gallery_labels = problem()
    scores = queries.double() @ gallery.double().T
    expected = retrieval_metrics(queries, gallery, query_labels, gallery_labels, similarity="dot")
    report = score_metrics(scores.split([1, 7, 4]), query_labels, gallery_labels)
    assert report.metrics == pytest.approx(expected.metrics, abs=1e-12)
    assert report.per_class.keys() == expected.per_class.keys()


def test_a_refused_chunk_leaves_the_accumulator_as_it_was():
    scores, relevant = torch.tensor([[0.9, 0.1, 0.5]]), torch.tensor([[True, False, False]])
    accumulator = RetrievalAccumulator()
    accumulator.update(scores, relevant)
    before = accumulator.compute()
    refused = {
        "NaN in 1 rows": (scores * torch.nan, relevant),
        "over 2 photos, those before over 3": (scores[:, :2], relevant[:, :2]),
        "must both be": (scores, relevant[:, :2]),
        "of torch.int64": (scores, relevant.long()),
        "not empty": (scores[:0], relevant[:0]),
    }
    for message, chunk in refused.items():
        with pytest.raises(ValueError, match=message):
            accumulator.update(*chunk)
    with pytest.raises(ValueError, match="2 labels for 1 queries"):
        accumulator.update(scores, relevant, ["cat", "dog"])
    assert accumulator.compute() == before


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"query_features": torch.zeros(12, 7)}, ValueError, "queries have 7 dimensions, the gallery 8"),
        ({"query_features": torch.zeros(12)}, ValueError, r"query_features must be \(count, dim\)"),
        ({"gallery_features": torch.zeros(0, 8), "gallery_labels": []}, ValueError, "gallery_features must be .* not empty"),
        ({"query_labels": [0, 1]}, ValueError, "2 query_labels for 12 rows"),
        ({"gallery_labels": [0] * 91}, ValueError, "91 gallery_labels for 90 rows"),
        ({"query_labels": [9] * 12}, ValueError, "none of the 12 queries has a relevant photo"),
        ({"query_labels": ["cat"] * 12}, TypeError, "int, str"),
        ({"query_labels": [0.5] * 12}, TypeError, "float"),
        ({"query_labels": list(torch.zeros(12))}, TypeError, "Tensor"),
        ({"similarity": "hamming"}, ValueError, "similarity must be one of cosine, dot, euclidean, got 'hamming'"),
        ({"average": "weighted"}, ValueError, "average must be one of micro, macro"),
        ({"ties": "random"}, ValueError, "ties must be one of gallery_order, pessimistic"),
        ({"top_k": (0,)}, ValueError, "every K must be a positive integer"),
        ({"chunk_size": 0}, ValueError, "chunk_size must be at least 1"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    names = ("query_features", "gallery_features", "query_labels", "gallery_labels")
    with pytest.raises(error, match=message):
        retrieval_metrics(**{**dict(zip(names, problem())), **change})


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_features_that_are_not_finite_are_refused_by_row(side, value):
    data = list(problem())
    data[side][4, 2] = value
    with pytest.raises(
        ValueError, match=f"{('query', 'gallery')[side]}_features hold NaN or infinity in 1 rows, first in row 4"
    ):
        retrieval_metrics(*data)


def test_scores_must_fit_the_labels():
    with pytest.raises(ValueError, match="scores of 2 queries"):
        score_metrics([torch.rand(2, 3)], [0, 1, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="reach row 2 .* 1 query labels and 3 gallery labels"):
        score_metrics([torch.rand(2, 3)], [0], [0, 1, 1])
    with pytest.raises(ValueError, match="no queries"):
        RetrievalAccumulator().compute()
    with pytest.raises(ValueError, match="macro mean needs the class"):
        one_query([0.5], [1], average="macro")


def test_results_table_is_aligned_markdown():
    rows = [{"name": "CAAN", "map_all": 0.51234, "gallery_size": 27989}, {"name": "a|b", "map_all": None}]
    assert results_table(rows, {"name": "model", "map_all": "mAP@all", "gallery_size": "gallery"}).splitlines() == [
        "| model | mAP@all | gallery |",
        "| ----- | ------: | ------: |",
        "| CAAN  |   0.512 |  27,989 |",
        "| a\\|b  |       – |       – |",
    ]
    assert results_table([{"map_all": 1.0}], digits=1).splitlines()[0] == "| map_all |"
    with pytest.raises(ValueError, match=r"no row has the columns \['map_al'\]; there are \['map_all'\]"):
        results_table([{"map_all": 1.0}], ["map_al"])
    with pytest.raises(ValueError, match="at least one row"):
        results_table([], ["name"])


# ------------------------------------------------------------------------------------------------------ the ranking shown


@pytest.mark.parametrize("ties", ["gallery_order", "pessimistic"])
@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_the_first_photos_are_those_that_the_metrics_count(similarity, ties):
    """Features of few values, so that half of the gallery is tied."""
    generator = torch.Generator().manual_seed(2)
    queries, gallery = (torch.randint(1, 4, (size, 2), generator=generator).double() for size in (15, 40))
    labels = torch.randint(3, (15,), generator=generator), torch.randint(3, (40,), generator=generator)
    report = retrieval_metrics(
        queries, gallery, *labels, similarity=similarity, ties=ties, top_k=(1, 7), per_query=True, chunk_size=4
    )
    rows, scores = best_photos(queries, gallery, *labels, top_k=7, similarity=similarity, ties=ties)
    hits = (labels[1][rows] == labels[0][:, None]).double()
    assert torch.equal(hits.mean(1), report.per_query["prec_7"]) and torch.equal(hits[:, 0], report.per_query["prec_1"])
    assert (scores.diff(dim=1) <= 0).all()
    values = [[slow_similarity(similarity, q, gallery[i].tolist()) for i in r] for q, r in zip(queries.tolist(), rows.tolist())]
    assert torch.allclose(scores.double(), torch.tensor(values).double(), atol=1e-5)


def test_a_gallery_smaller_than_the_row_is_shown_whole():
    rows, scores = best_photos(torch.eye(2), torch.eye(2), ["a", "b"], ["a", "b"], top_k=9)
    assert rows.tolist() == [[0, 1], [1, 0]] and scores.tolist() == [[1, 0], [1, 0]]
