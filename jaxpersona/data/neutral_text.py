"""Neutral text, on which perplexity is measured."""

import importlib.resources
import pathlib

from jaxpersona.core.errors import InputError

BUILTIN_TEXT = "builtin:neutral"


def read_text(source: str) -> str:
    """Returns the text of ``builtin:neutral`` (encyclopaedic prose written for this project) or of a UTF-8 file.

    Raises:
      InputError: if the file does not exist or is not UTF-8.
    """
    if source == BUILTIN_TEXT:
        return (importlib.resources.files("jaxpersona.data") / "builtin" / "neutral.txt").read_text(encoding="utf-8")
    path = pathlib.Path(source).expanduser()
    if not path.is_file():
        raise InputError(f"text file {source} does not exist; give a file or {BUILTIN_TEXT}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: not UTF-8 text (byte {error.start})") from None
