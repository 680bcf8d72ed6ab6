"""The demo's steps on the tree of shapes.  python -m pytest tests/evaluation/test_demo.py"""

import sys

import pytest
from PIL import Image
from running import run_script, run_training, shapes
from trees import UNSEEN, shape_options

import demo
from caan import cli
from caan.data.provenance import public_name
from caan.evaluation.record import Evaluation
from caan.options import DataOptions


def test_the_whole_demo(tmp_path, monkeypatch, capsys):
    folder, called = tmp_path / "demo", []

    def run(name, *arguments):
        """The scripts in this process, with the card left alone."""
        called.append((name, *arguments))
        if name == "train.py":
            run_training(list(arguments))
        elif name == "-m":
            assert cli.main(list(arguments[1:])) == 0
        else:
            run_script(name, list(arguments))

    monkeypatch.setattr(demo, "run_script", run)
    monkeypatch.setenv("CAAN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("caan.hub.card.update_card", lambda *given: "written")
    argv = shape_options(shapes(), folder, num_epochs=1, batches_per_epoch=2)
    monkeypatch.setattr(sys, "argv", ["demo.py", *argv])
    demo.main()
    assert [name for name, *_ in called] == ["train.py", "eval.py", "-m", "-m"]
    assert Image.open(folder / "search" / "found.png").width > 1000 and (folder / "search" / "gallery").is_dir()
    assert f"--data_dir={shapes()}" in called[1] and "--update_card" in called[1]  # the data set that it was trained on
    record = Evaluation.read(folder / "comparison" / "results.json")
    names = ["chance (random ranking)", "pixels (ink correlation)", "untrained CAAN", "trained CAAN"]
    assert list(record.results) == names and record.classes == list(UNSEEN) and record.seed == 0
    assert record.seen("trained CAAN") == (2, 0)
    fresh = Evaluation.read(folder / "reloaded" / "results.json").results[public_name(str(folder))]
    assert fresh["map_all"] == record.results["trained CAAN"]["map_all"]
    assert f"equal: mAP@all {fresh['map_all']:.4f}" in capsys.readouterr().out
    called.clear()
    monkeypatch.setattr(demo, "compare", lambda *given: pytest.fail("reached"))
    with pytest.raises(BaseException, match="reached"):
        demo.main()
    assert called == []  # a finished model is not trained again


def test_a_script_that_fails_ends_the_demo_with_its_status(capfd):
    with pytest.raises(SystemExit) as caught:
        demo.run_script("eval.py", "--splt=test")
    assert caught.value.code == 2 and "did you mean 'split'?" in capfd.readouterr().err


def test_only_what_differs_is_told_to_eval():
    assert demo.source_arguments(DataOptions(num_workers=7)) == []
    data = DataOptions(dataset="folder", data_dir="a b", allow_partial=True)
    assert demo.source_arguments(data) == ["--dataset=folder", "--data_dir=a b", "--allow_partial=True"]
