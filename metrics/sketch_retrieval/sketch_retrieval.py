"""The retrieval metrics as an `evaluate` module: a thin face over `caan.evaluation.metrics`, which does the
work and is tested as such.

Decided: a prediction is the feature vector of a query (or its row of scores) and a reference is its class, so that
`add_batch` and the gathering of several processes work as for any metric; the gallery, one and the same for all queries, is
given to `compute`.
"""

import datasets
import evaluate
import torch

_DESCRIPTION = """\
Zero-shot sketch-based image retrieval: mAP@all, mAP@200, Prec@100, Prec@200 and top-1 accuracy of ranking a gallery of
photos for each query sketch. A photo is relevant if it has the query's class. AP@200 is divided by min(200, R) with R
relevant photos, the variant divided by the hits has its own name, and Prec@K is divided by K.
"""

_CITATION = """\
@article{su2024caan,
  title = {Cross-Modal Attention Alignment Network with Auxiliary Text Description for zero-shot sketch-based image retrieval},
  author = {Su, Hanwen and Song, Ge and Huang, Kai and Wang, Jiyan and Yang, Ming},
  journal = {arXiv preprint arXiv:2407.00979},
  year = {2024}
}
"""

_INPUTS = """\
Args:
    predictions: feature vector of each query, (num_queries, dim); or, if compute gets no gallery_features, its scores over the
        gallery, (num_queries, gallery_size), higher is nearer. Kept as float32.
    references: class of each query, a name or an integer.
    gallery_labels: class of each photo, the same kind.
    gallery_features: feature vector of each photo, (gallery_size, dim).
    **options: of `caan.evaluation.metrics`: similarity, top_k, ap_k, average, ties, voc, chunk_size, progress.
Returns:
    a flat dictionary: map_all, map_200, map_200_hits, prec_100, prec_200, top1, and what they were measured on: gallery_size,
    num_queries, num_queries_without_relevant, relevant_min, relevant_median, average, ties.
Examples:
    >>> metric = evaluate.load("metrics/sketch_retrieval")
    >>> metric.add_batch(predictions=[[1.0, 0.0], [0.0, 1.0]], references=["cat", "dog"])
    >>> photos = {"gallery_features": [[0.9, 0.1], [0.2, 0.8]], "gallery_labels": ["cat", "dog"]}
    >>> metric.compute(**photos)["map_all"]
    1.0
"""


class SketchRetrieval(evaluate.Metric):
    """`evaluate.load("metrics/sketch_retrieval")`."""

    def _info(self):
        _import_metrics()  # a missing package is said at load, not after hours of embedding
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            # names first: as integers, the name "3" would silently become a number
            features=[
                datasets.Features(
                    {"predictions": datasets.Sequence(datasets.Value("float32")), "references": datasets.Value(kind)}
                )
                for kind in ("string", "int64")
            ],
        )

    def _compute(self, predictions, references, gallery_labels=None, gallery_features=None, **options):
        if gallery_labels is None:
            raise ValueError("compute needs gallery_labels, and gallery_features unless the predictions are scores")
        metrics = _import_metrics()
        if gallery_features is None:
            report = metrics.score_metrics([torch.tensor(predictions)], references, gallery_labels, **options)
        else:
            report = metrics.retrieval_metrics(predictions, gallery_features, references, gallery_labels, **options)
        return report.to_dict()


def _import_metrics():
    """`caan.evaluation.metrics`. Not imported at the top: `evaluate` would advise to install whatever the index calls caan."""
    try:
        from caan.evaluation import metrics
    except ImportError as error:
        raise ImportError(
            "sketch_retrieval needs the caan package of the repository that it is in: run `pip install -e .` there, "
            f"or start from that folder. The import said: {error}"
        ) from error
    return metrics
