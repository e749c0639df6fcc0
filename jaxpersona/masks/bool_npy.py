"""Writes masks in the format of the paper's scripts: one .npy file of booleans per matrix, a byte per weight, no metadata."""

import pathlib

import numpy as np

from jaxpersona.core.mesh import to_host
from jaxpersona.core.processes import is_first
from jaxpersona.masks.masks import Masks
from jaxpersona.models.sites import HEAD
from jaxpersona.models.weights import hf_name
from jaxpersona.ops import bitpack


def write_bool_files(folder: pathlib.Path, masks: Masks) -> None:
    """Writes bool (out, in) under Hugging Face parameter names, such as ``model.layers.0.self_attn.q_proj.weight.npy``.

    Args:
      folder: to create; must not exist.
      masks: of one persona.
    """
    if is_first():
        folder.mkdir(parents=True)
    for path, rows in masks.in_features:
        for layer, words in enumerate(masks.words[path]):
            name = hf_name(path) if path == HEAD else f"model.{hf_name(path, layer)}"
            mask = to_host(bitpack.unpack(words, rows)).T
            if is_first():
                np.save(folder / f"{name}.npy", mask)
