"""CAAN's classes registered with transformers when transformers' own registries are there, and not before.

A file of the Hub set registers its classes where it is imported as an installed module. `WATCHED` says which registry of
transformers makes which of our files be imported: at once where the registry is loaded already, else after its import by an
import hook. Registries import each other, and our files import them, so that what is to be imported waits until the outermost
import of them all is complete.
"""

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

WATCHED = {
    "transformers.models.auto.configuration_auto": "configuration_caan",
    "transformers.models.auto.image_processing_auto": "processing_caan",
    "transformers.models.auto.processing_auto": "processing_caan",
    "transformers.models.auto.modeling_auto": "modeling_caan",
    "transformers.pipelines": "pipeline_caan",
}
WATCHED |= {ours: ours for ours in WATCHED.values()}


class RegistryHook(MetaPathFinder):
    """Finds a watched module as everybody else does, and imports our file once it has been executed."""

    def __init__(self) -> None:
        self.depth = 0  # watched modules that are being imported now
        self.waiting: list[str] = []

    def find_spec(self, fullname: str, path=None, target=None) -> ModuleSpec | None:
        """The spec that the finders after this one give, with a loader that tells when it is done."""
        if fullname not in WATCHED:
            return None
        others = sys.meta_path[sys.meta_path.index(self) + 1 :]
        finders = (finder.find_spec for finder in others if hasattr(finder, "find_spec"))
        spec = next((found for find in finders if (found := find(fullname, path, target))), None)
        if spec is not None and spec.loader is not None:
            spec.loader = WatchedLoader(spec.loader, self)
        return spec

    def executed(self, name: str) -> None:
        """Imports what waits, unless a watched module around this one is still incomplete."""
        self.waiting.append(WATCHED[name])
        if self.depth == 0:
            ready, self.waiting = self.waiting, []
            for module in dict.fromkeys(ready):
                importlib.import_module(module)


class WatchedLoader(Loader):
    """The module's own loader, and a word to the hook afterwards."""

    def __init__(self, loader: Loader, hook: RegistryHook):
        self.loader, self.hook = loader, hook

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module by its own loader; the hook is told when that is done."""
        module.__loader__ = self.loader
        assert module.__spec__ is not None
        module.__spec__.loader = self.loader  # from here on the module is as if nobody had watched
        self.hook.depth += 1
        try:
            self.loader.exec_module(module)
        finally:
            self.hook.depth -= 1
        self.hook.executed(module.__name__)


def register_with_transformers() -> None:
    """Registers with the registries that are loaded, and sees to those that will be."""
    if any(isinstance(finder, RegistryHook) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, RegistryHook())
    for module in dict.fromkeys(ours for watched, ours in WATCHED.items() if watched in sys.modules):
        importlib.import_module(module)
