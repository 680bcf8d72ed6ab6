"""FSDP2 on two gloo processes: training, validation, whitening, saving, resuming.  python -m pytest tests/training/test_fsdp.py

Accelerate takes FSDP only where there is a GPU; the launcher below says that there is one, and all else is as it runs there.
"""

import json

import pytest
from running import run_process, shapes, tensors
from trees import shape_options

from caan.data.benchmark import make_benchmark
from caan.data.pictures import load_splits
from caan.evaluation.evaluate import evaluate
from caan.evaluation.retrievers import load_retriever
from caan.options import DataOptions

LAUNCHER = """
import runpy, sys
from accelerate import PartialState
from accelerate.utils import DistributedType
PartialState(cpu=True)
PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
}
VIT = {"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
VIT |= {"image_size": 32, "patch_size": 8}
OPTIONS = {"num_epochs": 2, "batches_per_epoch": 4, "model_config": {"vision_config": VIT, "whitening": 0.5}}


def launch(launcher, folder, *more, **environment):
    """train.py in two processes on one machine."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return run_process(*torchrun, *launcher, "train.py", *shape_options(shapes(), folder, **OPTIONS), *more, **environment)


@pytest.fixture
def launcher(tmp_path):
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    return [tmp_path / "launcher.py"]


def test_sharded_weights_are_validated_whitened_and_saved_whole(tmp_path, launcher):
    done = launch(launcher, tmp_path / "run", **FSDP2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("validation mAP@all") == 2
    assert list((tmp_path / "run" / "checkpoints").glob("step_*/pytorch_model_fsdp_0"))  # sharded, so it was FSDP
    splits = load_splits(DataOptions(dataset="folder", data_dir=str(shapes())))
    report = evaluate(load_retriever(str(tmp_path / "run")), make_benchmark(splits, "validation"))
    facts = json.loads((tmp_path / "run" / "training.json").read_text())
    assert facts["finished_map_all"] == pytest.approx(report["map_all"], abs=1e-6)


@pytest.mark.slow
def test_sharded_training_is_that_of_ddp_and_resumes(tmp_path, launcher):
    for name, start, environment in (("sharded", launcher, FSDP2), ("whole", [], {})):
        done = launch(start, tmp_path / name, **environment)
        assert done.returncode == 0, done.stderr
    whole = tensors(tmp_path / "whole")
    for name, tensor in tensors(tmp_path / "sharded").items():
        assert tensor.allclose(whole[name], atol=1e-4), name
    resume = ["--resume_from_checkpoint=latest", "--num_epochs=3"]
    done = launch(launcher, tmp_path / "sharded", *resume, **FSDP2)
    assert done.returncode == 0 and "resuming at step 4" in done.stdout, done.stderr
