"""The `caan` command: `caan COMMAND ...`, also `python -m caan.cli COMMAND ...`.

A command is a line in `COMMANDS` and a module with `main(argv, prog) -> exit status`. Modules are imported when their command
is called, and import torch when they have read their options, so that help is quick and a missing extra breaks its own command
alone.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from caan import __version__

# name: (module, what it does)
COMMANDS = {
    "train": ("caan.training.command", "train a model by a recipe, such as openmoji"),
    "eval": ("caan.evaluation.command", "evaluate retrievers on a zero-shot benchmark"),
    "index": ("caan.search.index_command", "make a gallery of your photos, or bring one up to date"),
    "search": ("caan.search.search_command", "find photos of a gallery by a sketch"),
    "gallery": ("caan.search.gallery_command", "list, check, move and remove galleries"),
    "app": ("caan.search.app.command", "search a gallery in the browser, by drawing"),
    "combine": ("caan.combine.command", "make one model of several that are trained"),
    "describe": ("caan.descriptions.command", "write descriptions of classes with a language model"),
    "export": ("caan.export.command", "write the towers as ONNX or torch.export files, checked and scored"),
    "figures": ("caan.figures.command", "show what the processor makes of pictures of sketches"),
    "push": ("caan.hub.command", "publish a finished model on the Hub"),
}


def main(argv: list[str] | None = None) -> int:
    """Run `caan` with `argv` (default: the process's own) and return the exit status."""
    width = max(map(len, COMMANDS)) + 2
    listing = "\n".join(f"  {name:<{width}}{purpose}" for name, (_, purpose) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        "caan",
        description="Zero-shot sketch-based image retrieval with CAAN.",
        epilog=f"commands:\n{listing}\n\n`caan COMMAND --help` explains one, with examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"caan {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the command's own options")
    arguments = parser.parse_args(argv)
    try:
        os.getcwd()  # which transformers asks for when it is imported
    except FileNotFoundError:
        print(f"caan {arguments.command}: error: the working folder was deleted: cd to another one", file=sys.stderr)
        return 1
    module = importlib.import_module(COMMANDS[arguments.command][0])
    return module.main(arguments.arguments, prog=f"caan {arguments.command}")


if __name__ == "__main__":
    sys.exit(main())
