"""train.py and eval.py with loading processes under every start method.  python -m pytest tests/training/test_start_methods.py

spawn is what macOS and Windows have, forkserver what Python 3.14 has on Linux: both import the script again in each worker, so
that most are among the slow tests.
"""

import pytest
from running import finished, run_process, shapes
from trees import shape_options

SPAWN, FORKSERVER = (pytest.param(method, marks=pytest.mark.slow) for method in ("spawn", "forkserver"))
START = """
import multiprocessing, runpy, sys
if __name__ == "__main__":
    multiprocessing.set_start_method({method!r})
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def script(tmp_path):
    """A script that sets the start method and runs another; a file, since workers import it again."""

    def write(method: str):
        path = tmp_path / f"{method}.py"
        path.write_text(START.format(method=method))
        return path

    return write


@pytest.mark.parametrize("method", ["fork", SPAWN, FORKSERVER])
def test_train(tmp_path, script, method):
    options = shape_options(shapes(), tmp_path / "run", num_workers=2, num_epochs=1, batches_per_epoch=2)
    done = run_process(script(method), "train.py", *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("method", ["spawn", FORKSERVER])
def test_eval(tmp_path, script, method):
    folder, _ = finished()
    options = ["--model", folder, "--dataset", "folder", "--data_dir", shapes(), "--output_dir", tmp_path, "--num_workers", "2"]
    done = run_process(script(method), "eval.py", *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results.json").exists()
