"""Dequantises int8 and float8 weights, or refuses quantised weights by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from jaxpersona.core.errors import InputError
from jaxpersona.models.config import dictionary

FLOAT8 = {"F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2, "F8_E8M0": ml_dtypes.float8_e8m0fnu}
"""Types, by their name in safetensors files, that the safetensors library cannot give as NumPy arrays."""
_METHODS = ("bitsandbytes", "compressed-tensors", "fbgemm_fp8", "fp8")
_SCB_RANGE = 127  # bitsandbytes stores the largest magnitude of each row, which int8 holds as 127


def check_quantization(config: Mapping[str, Any]) -> None:
    """Checks that weights quantised as ``config.json`` says can be dequantised, if it says anything.

    Raises:
      InputError: for a method with other than int8 or float8 weights, or with transforms besides scales.
    """
    for key in ("quantization_config", "compression_config"):
        settings = dictionary(config, key)
        if not settings:
            continue
        method = settings.get("quant_method") or ("bitsandbytes" if "load_in_8bit" in settings else key)
        four_bits = settings.get("load_in_4bit") or settings.get("_load_in_4bit")
        if method not in _METHODS or four_bits or settings.get("transform_config"):
            kind = " in 4 bits" if four_bits else ""
            raise InputError(
                f"config.json: weights quantised by {method}{kind} are not supported, only int8 and float8 with scales; "
                "give the model as it was before"
            )


def scale_names(weight: str) -> tuple[str, str, str]:
    """Returns the names under which the scale of tensor ``weight`` may be stored: of a row, of any block, of blocks."""
    return f"{weight.removesuffix('.weight')}.SCB", f"{weight}_scale", f"{weight}_scale_inv"


def layout_name(weight: str) -> str:
    """Returns the name under which bitsandbytes stores the layout of tensor ``weight``."""
    return f"{weight.removesuffix('.weight')}.weight_format"


def dequantise(value: np.ndarray, scale: np.ndarray, block: Any, by_row: bool) -> np.ndarray:
    """Returns value * scale, float32 [out, in].

    Args:
      value: int8 or float8 [out, in].
      scale: one number; one for each row, [out] or [out, 1]; or one for each block, [rows, columns].
      block: size of a block [out, in]; anything else if blocks divide a row evenly.
      by_row: whether ``scale`` holds the largest magnitude of each row (bitsandbytes' SCB).

    Raises:
      ValueError: if the shapes do not fit.
    """
    scale = scale.astype(np.float32)
    if by_row:
        scale = scale / _SCB_RANGE
    if scale.size == 1:
        scale = scale.reshape(1, 1)
    elif scale.ndim == 1:
        scale = scale[:, None]
    if value.ndim != 2 or scale.ndim != 2:
        raise ValueError(f"shapes {value.shape} and {scale.shape}")
    sizes = _block_size(value.shape, scale.shape, block)
    for axis, size in enumerate(sizes):
        scale = np.repeat(scale, size, axis)
    return value.astype(np.float32) * scale[: value.shape[0], : value.shape[1]]


def _block_size(shape: tuple[int, ...], scales: tuple[int, ...], block: Any) -> Sequence[int]:
    """Returns the size of the blocks that share a scale: ``block``, or rows or equal parts of rows, or the whole tensor."""
    known = isinstance(block, list) and len(block) == 2 and all(type(size) is int and size > 0 for size in block)
    if known and scales == tuple(-(-length // size) for length, size in zip(shape, block, strict=True)):
        return [min(size, length) for size, length in zip(block, shape, strict=True)]  # else a large one takes memory
    if 0 in scales or scales[0] not in (1, shape[0]) or shape[1] % scales[1]:
        raise ValueError(f"shapes {shape} and {scales}, blocks of {block or 'unknown size'}")
    return shape[0] // scales[0], shape[1] // scales[1]
