"""`caan push` as the tests call it, and what it leaves on the fake Hub."""

from tiny import HUB_SET

from caan import cli
from configuration_caan import SENTENCE_FILES

REPO = "org/caan-sketchy"
BOTH = {"README.md", "config.json", "model.safetensors", "training.json", ".gitattributes"} | HUB_SET | SENTENCE_FILES.keys()
INFERENCE = BOTH | {"preprocessor_config.json"}
FULL = BOTH | {"processor_config.json", "tokenizer.json", "tokenizer_config.json"}


def caan_push(*arguments) -> int:
    """Exit status of the command, whether it returns it or ends the process."""
    try:
        return cli.main(["push", *map(str, arguments)])
    except SystemExit as end:
        return int(end.code or 0)


def titles(hub, branch: str = "main") -> list[str]:
    """Titles of the commits, the newest last or first as the fake Hub keeps them."""
    return [commit.title for commit in hub.model(REPO).branches[branch]]
