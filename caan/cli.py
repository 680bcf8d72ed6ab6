"""The `caan` command: `caan COMMAND ...`, also `python -m caan.cli COMMAND ...`.

A command is a line in `COMMANDS` and a module with `main(argv, prog) -> exit status`. Modules are imported when their
command is called, so that a missing extra breaks its own command alone.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from transformers import HfArgumentParser

# name: (module, what it does)
COMMANDS = {
    "describe": ("caan.descriptions.command", "write descriptions of classes with a language model"),
    "export": ("caan.export.command", "write the towers as ONNX or torch.export files, checked and scored"),
    "push": ("caan.hub.push", "publish a finished model on the Hub"),
}

Options = TypeVar("Options")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Shows defaults that say something, and leaves the line breaks of descriptions and examples alone."""

    def _get_help_string(self, action: argparse.Action) -> str:
        silent = action.default in (None, False, argparse.SUPPRESS) or "default" in action.help
        return action.help if silent else f"{action.help} (default: %(default)s)"


def make_parser(options: type[Options], prog: str, description: str, examples: str) -> HfArgumentParser:
    """A parser of a dataclass of options; `--help` shows `description` and, at its end, `examples`."""
    from transformers import HfArgumentParser

    return HfArgumentParser(
        options, prog=prog, description=description, epilog=examples, formatter_class=_HelpFormatter, allow_abbrev=False
    )


def parse_options(options: type[Options], argv: list[str], prog: str, description: str, examples: str) -> Options:
    """A dataclass of options, filled from a command's arguments."""
    return make_parser(options, prog, description, examples).parse_args_into_dataclasses(argv, look_for_args_file=False)[0]


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
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the command's own options")
    arguments = parser.parse_args(argv)
    module = importlib.import_module(COMMANDS[arguments.command][0])
    return module.main(arguments.arguments, prog=f"caan {arguments.command}")


if __name__ == "__main__":
    sys.exit(main())
