"""The versions of transformers, datasets and torch that CAAN runs with: each session is an environment, and the tests in it.

    nox -l                                   # the sessions, a line each
    nox -s oldest                            # one of them
    nox -s between -- tests/hub/test_push.py -x  # the same, with arguments for pytest

What is pinned stands in tests/versions/, and pip resolves the rest. tests/test_versions.py holds these files, the lower bounds
in setup.cfg and the table in docs/versions.md together, and looks in every session whether the pins are what is installed.

CI runs `newest`, by the name of `make test`, and `oldest_libraries`, by that of `make test-oldest`: two minutes. The others are
run on demand, by whoever changes a bound: `between` and `oldest` download a torch of their own, some gigabytes.
"""

import sysconfig
from pathlib import Path

import nox

PINS = Path("tests/versions")
# They change together with the Hub, and their wheels are small. Compiled ones stay; so does timm: a new torch scolds old ones.
LIBRARIES = ("transformers", "datasets", "accelerate", "evaluate", "huggingface_hub")
LIBRARY_TESTS = (
    "tests/test_versions.py",
    "tests/hub_set/test_configuration.py",
    "tests/dataset_scripts/test_dataset_load.py",
    "tests/evaluation/test_evaluate_module.py",
    "tests/hub/test_fake_hub.py",
    "tests/dataset_scripts/test_folder_builder.py",
    "tests/hub_set/test_hub_set.py",
    "tests/hub_set/test_modeling_checkpoints.py",
    "tests/hub_set/test_modeling_text.py",
    "tests/hub_set/test_pipeline.py",
    "tests/hub/test_push.py",
    "tests/data/test_sampling.py",
)

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = True  # a session that is left out would look like one that passed


def read_pins(file: Path) -> list[str]:
    """The lines `package==version` of a constraints file."""
    return [line for line in file.read_text(encoding="utf-8").splitlines() if "==" in line]


def run_tests(session: nox.Session, pins: list[str], tests: tuple[str, ...] = ()) -> None:
    """pytest on what the command line says, or else on `tests`; it is told what is meant to be installed."""
    session.run("python", "-m", "pytest", *(session.posargs or tests), env={"CAAN_PINS": " ".join(pins)})


@nox.session
def newest(session: nox.Session) -> None:
    """All tests with the newest versions that pip resolves; `make test` does the same."""
    session.install("-e", ".[test]")
    run_tests(session, [])


@nox.session
def between(session: nox.Session) -> None:
    """All tests half way: datasets 4, an earlier transformers and torch."""
    session.install("-e", ".[test]", "-c", str(PINS / "between.txt"))
    run_tests(session, read_pins(PINS / "between.txt"))


@nox.session(python="3.10")
def oldest(session: nox.Session) -> None:
    """All tests with the oldest supported version of Python and of every direct dependency."""
    session.install("-e", ".[test]", "-c", str(PINS / "oldest.txt"))
    run_tests(session, read_pins(PINS / "oldest.txt"))


@nox.session(venv_backend="virtualenv")
def oldest_libraries(session: nox.Session) -> None:
    """The tests nearest to the Hub with its oldest libraries, on the torch of the environment that nox runs in."""
    purelib = session.run("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", silent=True).strip()
    # What this environment lacks it finds in the other; the one line makes that one's own .pth files count too.
    (Path(purelib) / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    pins = [pin for pin in read_pins(PINS / "oldest.txt") if pin.split("==")[0] in LIBRARIES]
    session.install(*pins)
    run_tests(session, pins, LIBRARY_TESTS)
