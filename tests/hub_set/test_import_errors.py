"""What a user of a Hub folder is told when one of its files cannot be imported.

python -m pytest tests/hub_set/test_import_errors.py
"""

import ast
from pathlib import Path

import pytest
from tiny import HUB_SET, caan_model, processor
from transformers.dynamic_module_utils import get_class_from_dynamic_module

ROOT = Path(__file__).parents[2]
CAUSE = "cannot import name 'renamed_long_ago' from 'torch'"


@pytest.fixture
def folder(tmp_path):
    caan_model().save_pretrained(tmp_path)
    processor().save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", sorted(HUB_SET))
def test_the_true_cause_is_shown_whichever_file_has_it(folder, file):
    """As if a class imported from torch had gone: what is shown must not be `No module named configuration_caan`."""
    text = (folder / file).read_text()
    (folder / file).write_text(text.replace('"""\n\n', '"""\n\nfrom torch import renamed_long_ago\n', 1))
    assert "renamed_long_ago" in (folder / file).read_text()
    reference = "processing_caan.CAANImageProcessor" if file == "ink_caan.py" else "modeling_caan.CAANModel"
    with pytest.raises(ImportError) as caught:
        get_class_from_dynamic_module(reference, str(folder))
    assert CAUSE in str(caught.value)


def test_an_undamaged_folder_loads_as_code_of_the_hub(folder):
    for reference in ("modeling_caan.CAANModel", "processing_caan.CAANImageProcessor", "pipeline_caan.SketchRetrievalPipeline"):
        assert get_class_from_dynamic_module(reference, str(folder)).__module__.startswith("transformers_modules.")


@pytest.mark.parametrize("file", sorted(HUB_SET))
def test_imports_of_the_set_have_the_one_form_that_works_in_both_places(file):
    """`try` relative, `except ImportError: if __package__: raise`, then flat: the same names from the same files."""
    tree = ast.parse((ROOT / file).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or f"{node.module}.py" in HUB_SET):
            assert any(node in ast.walk(parent) for parent in tree.body if isinstance(parent, ast.Try)), ast.unparse(node)
    for node in (node for node in tree.body if isinstance(node, ast.Try)):
        (handler,) = node.handlers
        guard, *flat = handler.body
        assert ast.unparse(handler.type) == "ImportError" and ast.unparse(guard) == "if __package__:\n    raise"
        relative = {f"{n.module}:{sorted(a.name for a in n.names)}" for n in node.body if isinstance(n, ast.ImportFrom)}
        assert relative == {f"{n.module}:{sorted(a.name for a in n.names)}" for n in flat} and all(
            n.level == 1 for n in node.body
        )
