"""Rows that several studies share, and how a row is made of CAAN with something changed."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from benchmarks.accuracy.study import Row, Run, build_caan, features
from benchmarks.accuracy.summary import shared_runs
from caan.evaluation.reranking import rerank
from caan.training.whitening import fit_whitening

NOT_WHITENED, WHITENED, RERANKED = ", not whitened", ", whitened", ", re-ranked"


def with_extras(name: str, whitened: bool, model, processor, run: Run) -> dict[str, torch.Tensor]:
    """Cosine similarities before and after whitening, and re-ranked: neither needs training, so every peer is granted both.

    The row's own name goes to what its method is: with whitening for CAAN, without for what it is compared with.
    """
    plain = features(model, processor, run)
    caan = getattr(model, "caan", model)
    fit_whitening(caan, processor, run.splits["train"], batch_size=100, progress=False)
    white = caan.sketch_whitening(plain[0]), caan.image_whitening(plain[1])
    names = {name + NOT_WHITENED: plain, name: white} if whitened else {name: plain, name + WHITENED: white}
    names[name + ("" if whitened else WHITENED) + RERANKED] = rerank(*white)
    return {key: queries @ gallery.T for key, (queries, gallery) in names.items()}


def trained(name: str, build, whitened: bool = False, **options) -> Row:
    """A row that is trained, and judged also whitened and re-ranked.

    Args:
        whitened: the row is CAAN or a variant, whose recipe whitens. options: of TrainOptions, unlike the recipe's.
    """
    return Row(name, build, partial(with_extras, name, whitened), options=options)


def changed(run: Run, **fields) -> tuple:
    """CAAN with some config fields changed."""
    return build_caan(run.with_config(**fields))


def variant(name: str, **fields) -> Row:
    """A row of CAAN with some config fields changed."""
    return trained(name, partial(changed, **fields), whitened=True)


def on_lines(build: Callable) -> Callable:
    """The same row on line drawings as they are, without the recipe's shade."""
    return lambda run: build(run._replace(model_options=replace(run.model_options, sketch_shade=0.0)))


CAAN = trained("CAAN", build_caan, whitened=True)
WITHOUT_TEXT = variant("without text", use_text=False)
WITHOUT_L_TRI = variant("without L_tri", lambda_tri=0.0)
WITHOUT_L_RN = variant("without L_rn", lambda_rn=0.0)


def own_results(results: list[dict]) -> list[dict]:
    """The rows themselves and CAAN without whitening, on the runs that all rows have: the rest `peers` alone shows."""
    own = [r for r in results if r["row"] in (r["trained_as"], CAAN.name + NOT_WHITENED)]
    return shared_runs(own) or own
