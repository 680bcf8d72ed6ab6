"""What every test needs before torch and transformers are imported: no network, no writing outside, few threads."""

import atexit
import os
import shutil
import signal
import tempfile

HOME = tempfile.mkdtemp(prefix="caan-tests-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ["HF_HOME"] = HOME
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors: more threads only wait for each other

# A shell's background jobs ignore Ctrl-C, and so would the runs that tests start and stop.
signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest  # noqa: E402
import torch  # noqa: E402
from hub_client import hub  # noqa: E402, F401 (a fixture; the client reads the settings above when it is imported)

pytest.register_assert_rewrite("contract")  # tests/search/contract.py: its asserts say what they compared


@pytest.fixture(autouse=True)
def seeded():
    """Weights made in a test are the same in every run: nothing passes or fails by chance."""
    torch.manual_seed(0)


def pytest_collection_modifyitems(items):
    """Marks the files that run a function in two forks of this process."""
    for item in items:
        if hasattr(getattr(item, "module", None), "in_two_processes"):
            item.add_marker("forks")
