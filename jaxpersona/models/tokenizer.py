"""Tokenizers: from a Hugging Face folder, or built from a GGUF file's own vocabulary and merges. Neither needs PyTorch."""

import pathlib

import tokenizers
import tokenizers.decoders
import tokenizers.models
import tokenizers.normalizers
import tokenizers.pre_tokenizers as pre
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from jaxpersona.errors import InputError
from jaxpersona.models.gguf import GGUFSource

_CONTROL, _USER_DEFINED = 3, 4
_LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def from_folder(folder: pathlib.Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a Hugging Face folder, with its chat template if it has one.

    Raises:
      InputError: when the folder holds no tokenizer that loads.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder}: no usable tokenizer ({reason}); put tokenizer.json there") from None
    assert tokenizer is not None
    return tokenizer


def from_gguf(source: GGUFSource) -> PreTrainedTokenizerBase:
    """The byte-level BPE tokenizer whose vocabulary, merges, special tokens and chat template the GGUF file holds.

    Raises:
      InputError: when the file holds another kind of tokenizer, or cuts words by rules not known here.
    """
    kind = source.field("tokenizer.ggml.model")
    if kind != "gpt2":
        raise InputError(f"{source.path}: tokenizer kind {kind!r} is not supported (only gpt2, byte-level BPE); use safetensors")
    words = source.required("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in source.required("tokenizer.ggml.merges")]
    splitter = source.field("tokenizer.ggml.pre", "default")
    if splitter not in _SPLITTERS:
        known = ", ".join(_SPLITTERS)
        raise InputError(f"{source.path}: pre-tokenizer {splitter!r} is not supported; known: {known}")
    vocabulary = {word: index for index, word in enumerate(words)}
    bpe = tokenizers.models.BPE(vocab=vocabulary, merges=merges, ignore_merges=splitter == "llama-bpe")
    tokenizer = tokenizers.Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre.Sequence(_SPLITTERS[splitter])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    if splitter == "qwen2":
        tokenizer.normalizer = tokenizers.normalizers.NFC()
    kinds = source.required("tokenizer.ggml.token_type")
    for word, word_kind in zip(words, kinds, strict=True):
        if word_kind in (_CONTROL, _USER_DEFINED):
            tokenizer.add_tokens([tokenizers.AddedToken(word, special=word_kind == _CONTROL, normalized=False)])
    return _with_specials(tokenizer, source, words)


def _with_specials(tokenizer: tokenizers.Tokenizer, source: GGUFSource, words: list[str]) -> PreTrainedTokenizerBase:
    def word(name: str) -> str | None:
        index = source.field(f"tokenizer.ggml.{name}_token_id")
        return None if index is None else words[index]

    specials = {"bos_token": word("bos"), "eos_token": word("eos"), "pad_token": word("padding")}
    # As in llama.cpp, a Llama 3 file that does not say otherwise starts texts with BOS.
    is_llama3 = source.field("tokenizer.ggml.pre") == "llama-bpe"
    if source.field("tokenizer.ggml.add_bos_token", is_llama3) and specials["bos_token"]:
        bos = specials["bos_token"]
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **specials)
    fast.chat_template = source.field("tokenizer.chat_template")
    return fast


def _split(pattern: str) -> list[pre.PreTokenizer]:
    cut = pre.Split(tokenizers.Regex(pattern), behavior="isolated")
    return [cut, pre.ByteLevel(add_prefix_space=False, use_regex=False)]


_SPLITTERS = {
    "default": [pre.ByteLevel(add_prefix_space=False, use_regex=True)],
    "gpt-2": [pre.ByteLevel(add_prefix_space=False, use_regex=True)],
    "smollm": [pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False, use_regex=True)],
    "llama-bpe": _split(_LLAMA3),
    "qwen2": _split(_QWEN2),
}
