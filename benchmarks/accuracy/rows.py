"""Rows that several studies share, and how a row is made of CAAN with something changed."""

from functools import partial

import torch

from benchmarks.accuracy.study import Row, Run, build_caan, features
from caan.reranking import rerank


def with_reranking(name: str, model, processor, run: Run) -> dict[str, torch.Tensor]:
    """Cosine similarities, and those after query expansion, which needs no training and so is granted to every peer."""
    queries, gallery = features(model, processor, run)
    again = rerank(queries, gallery)
    return {name: queries @ gallery.T, f"{name}, re-ranked": again[0] @ again[1].T}


def trained(name: str, build, **options) -> Row:
    """A row that is trained, and judged with and without re-ranking. `options`: of TrainOptions, unlike the recipe's."""
    return Row(name, build, partial(with_reranking, name), options=options)


def changed(run: Run, **fields) -> tuple:
    """CAAN with some config fields changed."""
    return build_caan(run.with_config(**fields))


def variant(name: str, **fields) -> Row:
    """A row of CAAN with some config fields changed."""
    return trained(name, partial(changed, **fields))


CAAN = trained("CAAN", build_caan)
WITHOUT_TEXT = variant("without text", use_text=False)
WITHOUT_L_TRI = variant("without L_tri", lambda_tri=0.0)
WITHOUT_L_RN = variant("without L_rn", lambda_rn=0.0)


def own_results(results: list[dict]) -> list[dict]:
    """Without those after re-ranking, which `peers` alone shows."""
    return [r for r in results if r["row"] == r["trained_as"]]
