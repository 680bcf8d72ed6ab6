"""Text in and out: files in UTF-8 with or without a byte-order mark, any line ends; any terminal."""

import sys
from pathlib import Path


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        ValueError: it is no UTF-8; the message names the file and the cure.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text (byte {error.start}). Save it as UTF-8.") from error


def say(text: str) -> None:
    """Print a text at once; characters that the terminal cannot show become escapes."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def read_lines(path: Path) -> list[str]:
    """The lines of a file without the space around them, empty ones left out."""
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]
