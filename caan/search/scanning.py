"""Products of queries with the rows of a float16 matrix: a fast first look, and the exact ones.

scores, error = first_scores(matrix, queries)
rows = near_best(scores[0], 100, error)
exact = exact_scores(matrix.numpy(), query, rows)
"""

import time
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch

# Rows that become float32 at once: 12 MB at a width of 384, which stay in the cache between conversion and product.
ROWS = 8192
# Up to as many rows are scored by one thread: on a busy machine two wait 4 ms for each other, longer than all the work takes.
FEW = 8192
GRAIN = 32_768  # numbers from which torch takes several threads (at::internal::GRAIN_SIZE)
TRIES = 30  # of each precision
# With as many queries the conversion to float32 is paid back by one product for all.
MANY = 4
# How far a product of unit vectors may be off: float32 sums of 2,048 products; and a query and a score rounded to float16, each
# to 2^-11 of itself.
FLOAT_ERROR = 2.0**-13
HALF_ERROR = 2.0**-10 + FLOAT_ERROR


def first_scores(matrix: torch.Tensor, queries: torch.Tensor, rows: np.ndarray | None = None) -> tuple[torch.Tensor, float]:
    """Cosines of queries (q, width) float32 with unit vectors (count, width) float16, or with some of them.

    Returns (q, count) float32, and how far each may be off.
    """
    queries = torch.nn.functional.normalize(queries, dim=1)
    count = len(matrix) if rows is None else len(rows)
    if count <= FEW:
        wide = as_float32(matrix.numpy() if rows is None else matrix.numpy().take(rows, axis=0))
        return torch.from_numpy(np.einsum("qw,rw->qr", queries.numpy(), wide)), FLOAT_ERROR
    half = len(queries) < MANY and half_is_fast(matrix.shape[1])
    scores = torch.empty(len(queries), count)
    step = max(1, ROWS if rows is not None or not half else count)
    buffer = torch.empty(0 if half else min(step, count), matrix.shape[1])
    for start in range(0, count, step):
        part = slice(start, start + step)
        chunk = matrix[part] if rows is None else torch.from_numpy(matrix.numpy().take(rows[part], axis=0))
        scores[:, part] = half_scores(chunk, queries) if half else (buffer[: len(chunk)].copy_(chunk) @ queries.T).T
    return scores, HALF_ERROR if half else FLOAT_ERROR


def as_float32(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, width) float16 as float32, by this thread alone, and five times as fast as numpy does it."""
    result, source = torch.empty(vectors.shape), torch.from_numpy(vectors)
    step = max(1, (GRAIN - 1) // max(1, vectors.shape[1]))
    for start in range(0, len(vectors), step):
        result[start : start + step].copy_(source[start : start + step])
    return result.numpy()


def half_scores(chunk: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """Products (q, n) in float16 with float32 sums: rows are read as they are, which is what a scan waits for."""
    return torch.stack([torch.mv(chunk, query) for query in queries.half()])


@lru_cache
def half_is_fast(width: int) -> bool:
    """Whether this machine and this torch multiply float16 as it is: precisely enough, and faster than by way of float32.

    Without instructions for it they sum in float16, or take several times as long. The answer stays, so the time is that of one
    long row, which one thread does, and the fastest of many tries: on a busy machine two threads wait for each other a hundred
    times as long as the product takes.
    """
    rows = torch.nn.functional.normalize(torch.randn(64, width, generator=torch.Generator().manual_seed(0)), dim=1)
    exact = rows.half().float() @ rows[0]
    if not (half_scores(rows.half(), rows[:1])[0].float() - exact).abs().max() <= HALF_ERROR:
        return False
    long = torch.ones(1, GRAIN - 1, dtype=torch.float16)
    query = long[0].float()
    half = min(seconds_of(lambda: torch.mv(long, long[0])) for _ in range(TRIES))
    single = min(seconds_of(lambda: torch.mv(long.float(), query)) for _ in range(TRIES))
    return half < single


def seconds_of(scan: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    scan()
    return time.perf_counter() - start


def near_best(scores: torch.Tensor, top_k: int, error: float) -> np.ndarray:
    """Positions, ascending, of all scores (count,) that may be among the best `top_k` if each is off by `error` at most.

    top_k: 1 to count. A score of -inf is no candidate, wherever others are left.
    """
    groups = 32 * top_k
    if len(scores) < 4 * groups:
        least = scores.topk(top_k).values[-1]
        return (scores >= least - 2 * error).nonzero()[:, 0].numpy()
    # The k-th best of the groups' best is no better than the k-th of all, and found without sorting them. Neighbours, which are
    # often alike, are in different groups.
    best = scores[: len(scores) // groups * groups].view(-1, groups).amax(dim=0)
    likely = (scores >= best.topk(top_k).values[-1] - 2 * error).nonzero()[:, 0]
    least = scores[likely].topk(top_k).values[-1]
    return likely[scores[likely] >= least - 2 * error].numpy()


def exact_scores(vectors: np.ndarray, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Products (n,) of a query (width,) float32 with rows (n,) of a matrix, in float32.

    Each row is summed by itself and in the same order, so that equal rows have equal scores; a matrix product does not do that.
    """
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        scores[start : start + ROWS] = (as_float32(vectors.take(part, axis=0)) * query).sum(axis=1)
    return scores
