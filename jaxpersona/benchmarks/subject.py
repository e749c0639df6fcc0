"""What both sides of a comparison work on: the same weights as a Hugging Face folder, and the same texts."""

import dataclasses

from jaxpersona.core import files
from jaxpersona.data.pairs import Pair
from jaxpersona.data.text import chat_text
from jaxpersona.exporters.hf_folder import write_folder
from jaxpersona.models.model import Model, find, load_model


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model as both sides read it.

    Attributes:
      path: what ours loads, a GGUF file or a folder.
      folder: what PyTorch loads, a folder with the same weights.
      model: the model, for its tokenizer.
    """

    path: str
    folder: str
    model: Model


def prepare(name: str) -> Subject:
    """Loads a model and, if it is a GGUF file, writes the same weights as a folder into the cache, once.

    Raises:
      InputError: when there is no such model, or a folder cannot say what it is.
    """
    found = find(name)
    path = found.path
    model = load_model(str(path), "float32", found=found)
    if path.suffix != ".gguf":
        return Subject(str(path), str(path), model)
    folder = files.cache_folder() / "benchmark" / model.fingerprint[:16]
    if not folder.is_dir():
        write_folder(folder, found)
    return Subject(str(path), str(folder), model)


def texts(model: Model, pair: Pair) -> tuple[str, str]:
    """Both answers of a pair in the model's chat template."""
    first, second = (
        chat_text(model.tokenizer, pair.prompt, pair.system, answer) for answer in (pair.matching, pair.not_matching)
    )
    return first, second
