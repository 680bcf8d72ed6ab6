"""The folds that recipes are chosen on.

pytest tests/dataset_scripts/test_folds.py
"""

import pytest

from dataset_scripts.core.folds import NUM_FOLDS, draw_fold, seen_classes, write_lists
from dataset_scripts.core.splits import read_split
from dataset_scripts.sketchy import Sketchy


def test_folds_cut_the_seen_classes_and_share_no_unseen_one():
    official = read_split("sketchy", "104_21")
    folds = [draw_fold(number) for number in range(NUM_FOLDS)]
    unseen = [name for fold in folds for name in fold.unseen]
    assert [(len(f.seen), len(f.unseen)) for f in folds] == [(84, 20)] * 5
    assert len(set(unseen)) == 100 and set(unseen) <= set(official.seen)
    for fold in folds:
        assert sorted(fold.seen + fold.unseen) == sorted(official.seen) == sorted(seen_classes())


def test_no_fold_touches_the_real_unseen_classes():
    official = set(read_split("sketchy", "104_21").unseen)
    assert not any(official & {*draw_fold(n).seen, *draw_fold(n).unseen} for n in range(NUM_FOLDS))


def test_a_fold_does_not_depend_on_the_order_of_the_list():
    assert draw_fold(3, seen_classes()[::-1]) == draw_fold(3)


def test_hand_worked_order():
    # Twenty a fold: with two classes fold 0 takes both, fold 1 finds none.
    assert draw_fold(0, ["a", "b"]) == ([], ["a", "b"])
    assert draw_fold(1, ["a", "b"]) == (["a", "b"], [])


def test_the_shipped_lists_are_the_drawn_folds(tmp_path):
    write_lists(tmp_path)
    for number in range(NUM_FOLDS):
        split = read_split("sketchy", f"fold_{number}")
        assert (split.seen, split.unseen) == tuple(draw_fold(number))
        assert (tmp_path / f"sketchy_fold_{number}_test.txt").read_text().split() == split.unseen


def test_folds_are_configs_that_are_not_published():
    configs = {config.name: config for config in Sketchy.BUILDER_CONFIGS}
    assert [configs[f"fold_{n}"].published for n in range(NUM_FOLDS)] == [False] * 5
    assert configs["104_21"].published


@pytest.mark.parametrize("number", [-1, 5])
def test_unknown_fold(number):
    with pytest.raises(ValueError, match=f"folds 0 to 4, not {number}"):
        draw_fold(number)
