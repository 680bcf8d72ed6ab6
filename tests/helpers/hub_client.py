"""The fixture `hub`, a fake Hub that this process's client speaks to, and the environment of a process of its own."""

import os
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from fake_hub import WRITER, FakeHub
from huggingface_hub import HfApi, constants, hf_api


def hub_environment(hub: FakeHub, home, token: str | None = WRITER, offline: bool = False) -> dict[str, str]:
    """Environment variables of a fresh process that uses `hub`, with its cache in `home`."""
    left_out = {"HF_TOKEN", "HF_HUB_OFFLINE", "PYTHONPATH"} | {name for name in os.environ if name.lower().endswith("_proxy")}
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    settings |= {"HF_HUB_OFFLINE": "1"} if offline else {}
    settings |= {"HF_TOKEN": token} if token else {}
    return {name: value for name, value in os.environ.items() if name not in left_out} | settings


@contextmanager
def served_hub(patch: pytest.MonkeyPatch, cache):
    """A fake Hub. The client reads its settings when it is imported, so they are set where it keeps them; it never waits."""
    with FakeHub() as hub:
        settings = {
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_CACHE": str(cache),
        }
        for name, value in settings.items():
            patch.setattr(constants, name, value)
        patch.setattr(hf_api.api, "endpoint", hub.url)  # of huggingface_hub's functions
        patch.setattr("transformers.utils.hub._hf_api", HfApi(), raising=False)  # transformers makes one and keeps it
        patch.setenv("HF_TOKEN", WRITER)
        no_wait = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
        patch.setattr("huggingface_hub.utils._http.time", no_wait)
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)
        yield hub


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A fake Hub of this test's own."""
    with served_hub(monkeypatch, tmp_path / "hub-cache") as hub:
        yield hub
