"""Command lines and recipes: how a command's option families are filled.

    python train.py recipes/openmoji.yaml --num_epochs 2 --model_config.hidden_size 128

A recipe is a YAML mapping of options, given by its path or, if it comes with the package, by its name. The command line wins;
a dotted name changes one field of an option that is a mapping. Nothing here imports torch.
"""

import argparse
import copy
import dataclasses
import difflib
import json
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser

HERE = Path(__file__).parent
RECIPES = next((path for path in (HERE / "recipes", HERE.parent / "recipes") if path.is_dir()), HERE / "recipes")
TRUTH = {"yes", "true", "t", "y", "1", "no", "false", "f", "n", "0"}  # what HfArgumentParser takes for a switch
REMOVED = {"freeze_vision_blocks": "tune: last_N, with the number of blocks that learn: of 7, the first 4 frozen is last_3"}
NESTED = "model_config"  # the option that is a mapping


class RecipeLoader(yaml.SafeLoader):
    """YAML with the numbers of its version 1.2: 1e-3 is one, and 104_21, the name of a split, is none. A key that stands twice
    in a mapping is an error, where YAML would take the last."""

    def compose_mapping_node(self, anchor):
        """A mapping as it is written, without double keys; keys that `<<` merges in later come below its own."""
        node = super().compose_mapping_node(anchor)
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if double := sorted({name for name in names if names.count(name) > 1}):
            raise yaml.YAMLError(f"{double[0]!r} stands twice in a mapping, {node.start_mark}")
        return node


NUMBERS = {"int": r"[-+]?(0|[1-9][0-9]*)", "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"}
RecipeLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in NUMBERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for kind, pattern in NUMBERS.items():
    RecipeLoader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"^{pattern}$"), list("-+.0123456789"))


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Shows the range and the default of an option, and leaves the lines of descriptions and examples alone."""

    def _get_help_string(self, action: argparse.Action) -> str:
        silent = action.default in (None, argparse.SUPPRESS) or not action.option_strings or "default" in (action.help or "")
        return (action.help or "") if silent else f"{action.help} (default: %(default)s)"


class OptionParser(HfArgumentParser):
    """A parser of option families. Abbreviations are off: a later option could change what one means."""

    def __init__(self, classes: tuple, **settings: Any):
        super().__init__(classes, formatter_class=HelpFormatter, allow_abbrev=False, **settings)

    @staticmethod
    def _parse_dataclass_field(parser: argparse.ArgumentParser, field: dataclasses.Field) -> None:
        field = copy.copy(field)  # the range is checked by the family itself; argparse knows no such argument
        metadata = dict(field.metadata)
        allowed = metadata.pop("range", None)
        field.metadata = metadata if allowed is None else {**metadata, "help": f"{metadata['help']} [{allowed}]"}  # type: ignore
        HfArgumentParser._parse_dataclass_field(parser, field)

    def parse_known_args(self, args=None, namespace=None):
        """As argparse, but a switch takes the next argument as its value only where that is one: `--yes FOLDER` is a switch."""
        given = list(sys.argv[1:] if args is None else args)
        switches = {
            name for action in self._actions if action.const is True and action.nargs == "?" for name in action.option_strings
        }
        for place, argument in enumerate(given):
            following = given[place + 1].lower() if place + 1 < len(given) else ""
            if argument in switches and following not in TRUTH:
                given[place] = f"{argument}=true"
        return super().parse_known_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        """Ends the program with usage and message, exit status 2."""
        super().error(message)
        raise AssertionError("argparse has ended the program")

    def parse_known(self, argv: list[str]) -> argparse.Namespace:
        """The parsed arguments; an unknown one ends the program with a message that names the nearest option."""
        values, unknown = self.parse_known_args(argv)
        if unknown:
            name = unknown[0].split("=")[0].lstrip("-")
            plain = name.replace("-", "_")
            if plain in REMOVED:
                self.error(f"option {plain!r} is gone, in its place is {REMOVED[plain]}")
            near = difflib.get_close_matches(plain, vars(values), 1)
            self.error(f"unknown option {name!r}{f', did you mean {near[0]!r}?' if near else ''}")
        return values

    def fill(self, argv: list[str]) -> tuple:
        """Instances of the families, then a namespace of what else was added; a value out of range is told as an error."""
        self.parse_known(argv)
        try:
            return self.parse_args_into_dataclasses(argv, look_for_args_file=False)
        except ValueError as error:
            self.error(str(error))


def parse_options(*classes: type, argv: list[str] | None = None, prog: str | None = None, description: str = "") -> tuple:
    """Instances of the families from `[recipe] [--option value ...]`.

    Raises SystemExit with a message for an unknown option, on the command line or in the recipe, naming the nearest one, and
    for a value of the wrong type or out of its range.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    usage = "%(prog)s [recipe.yaml] [--option value ...]"
    parser = OptionParser(classes, prog=prog, usage=usage, description=description)
    known = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
    parser.add_argument("recipe", nargs="?", help=f"YAML file with any of the options below, or one of {known}.")
    argv, changes = take_dotted(parser, argv)
    recipe = parser.parse_known(argv).recipe
    if recipe is not None:
        parser.set_defaults(**read_recipe(recipe, classes))
    if changes:
        argv = [*argv, f"--{NESTED}={json.dumps(with_changes(parser, argv, changes))}"]
    return parser.fill(argv)[:-1]


def take_dotted(parser: OptionParser, argv: list[str]) -> tuple[list[str], list[tuple[list[str], Any]]]:
    """Splits `--model_config.a.b 3` off a command line: the rest, and (["a", "b"], 3) for each, read as YAML."""
    rest, changes, arguments = [], [], iter(argv)
    for argument in arguments:
        name, equals, value = argument.partition("=")
        option, dot, path = name.removeprefix("--").partition(".")
        if not (argument.startswith("--") and dot and option.replace("-", "_") == NESTED):
            rest.append(argument)
            continue
        if not equals:
            value = next(arguments, "")
        if not value or not equals and value.startswith("--") or not all(path.split(".")):
            parser.error(f"{name} needs a value, as in {name} 128")
        changes.append((path.split("."), read_value(parser, name, value)))
    return rest, changes


def read_value(parser: OptionParser, name: str, text: str) -> Any:
    """The value of a dotted option, written as YAML; what is no YAML, or has no JSON form, is told as an error of it."""
    try:
        value = yaml.load(text, RecipeLoader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2020-13-01
        parser.error(f"{name}: {text!r} is no YAML value ({' '.join(str(error).split())})")
    to_json(parser, name, value)
    return value


def to_json(parser: OptionParser, name: str, value: Any) -> str:
    """An option's value as JSON text. YAML knows more than JSON: a date, a set, a number without end is told as an error."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        parser.error(f"{name}: {value} holds what JSON does not know ({error}): put a text in quotes")


def with_changes(parser: OptionParser, argv: list[str], changes: list[tuple[list[str], Any]]) -> dict:
    """The nested option with some fields changed; the others stay as the recipe or the command line has them."""
    try:
        fields = json.loads(getattr(parser.parse_known(argv), NESTED), object_pairs_hook=without_doubles)
    except (AttributeError, ValueError) as error:
        parser.error(f"--{NESTED} is no JSON, so that no field of it can be changed ({error})")
    for path, value in changes:
        place = fields
        for above, name in zip([NESTED, *path], path):
            if not isinstance(place, dict):
                parser.error(f"--{NESTED}.{'.'.join(path)}: {above} is no mapping")
            holder, place = place, place.setdefault(name, {})
        holder[path[-1]] = value
    return fields


def without_doubles(pairs: list[tuple[str, Any]]) -> dict:
    """The mapping of a JSON text's pairs. Raises ValueError for a key that stands twice, where JSON would take the last."""
    names = [name for name, _ in pairs]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{double[0]!r} stands twice in a mapping")
    return dict(pairs)


def find_recipe(name: str) -> Path | None:
    """The file of a recipe: a path as it is, or the name of one that comes with the package; None where there is none."""
    shipped = RECIPES / f"{name}.yaml"
    return next((path for path in (Path(name), shipped) if path.is_file()), None)


def read_recipe(name: str, classes: tuple) -> dict:
    """The recipe's options, checked as if they stood on the command line; nested mappings become JSON."""
    parser = OptionParser(classes, prog=name, usage="%(prog)s [recipe.yaml] [--option value ...]")
    path = find_recipe(name)
    if path is None:
        known = ", ".join(sorted(shipped.stem for shipped in RECIPES.glob("*.yaml")))
        parser.error(f"no such recipe; those that come along are {known}")
    try:
        values = read_values(path.read_text(encoding="utf-8"))
        given = without_doubles([(key.replace("-", "_"), value) for key, value in values.items() if value is not None])
    except (OSError, yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or a date such as 2020-13-01
        parser.error(f"no YAML: {error}")
    except TypeError as error:
        parser.error(str(error))
    arguments = [argument for key, value in given.items() for argument in as_arguments(parser, key, value)]
    parsed = parser.parse_known(arguments)
    parser.fill(arguments)
    return {key: getattr(parsed, key) for key in given}


def read_values(text: str) -> dict[str, Any]:
    """A recipe's options: of a plain value the text as it is written, so that `no`, 012 and 1e5 are what a command line would
    have; null is None; lists and mappings are read.

    Raises:
        TypeError: it is no mapping of options.
    """
    values, node = yaml.load(text, RecipeLoader), yaml.compose(text, RecipeLoader)
    if not isinstance(values, dict | None):
        raise TypeError("a recipe is a mapping of options to values")
    written = {key.value: value for key, value in node.value if isinstance(value, yaml.ScalarNode)} if values else {}
    switches = {"on": "true", "off": "false"}
    plain = {key: switches.get(item.value.lower(), item.value) for key, item in written.items() if item.style is None}
    return {str(key): plain.get(str(key), value) if value is not None else None for key, value in (values or {}).items()}


def as_arguments(parser: OptionParser, key: str, value: Any) -> list[str]:
    """An option of a recipe as command-line arguments."""
    if isinstance(value, list):
        action = next((action for action in parser._actions if action.dest == key), None)
        if action is not None and action.nargs not in ("+", "*"):
            parser.error(f"{key} takes one value, got a list: {value}")
        return [f"--{key}", *map(str, value)]
    return [f"--{key}={to_json(parser, key, value) if isinstance(value, dict) else value}"]
