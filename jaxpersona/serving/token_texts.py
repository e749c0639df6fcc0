"""The bytes and texts of single tokens, as log-probabilities name them."""

import functools

from transformers import PreTrainedTokenizerBase


class TokenTexts:
    """Bytes and texts of tokens.

    A token of a byte-level vocabulary may hold a part of a character. Its text is then written as ``bytes:\\xe2\\x80``, so that
    different tokens have different texts.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._tokenizer = tokenizer
        self._added = dict(tokenizer.added_tokens_decoder)
        self._byte_level = "ByteLevel" in str(getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None))

    @functools.cached_property
    def longest(self) -> int:
        """Largest number of characters that a token stands for, or more."""
        return max(map(len, self._tokenizer.get_vocab()))

    def is_special(self, token: int) -> bool:
        """Returns whether texts leave a token out."""
        return token in self._added and self._added[token].special

    def raw(self, token: int) -> bytes:
        """Returns the bytes that a token stands for."""
        if token in self._added and (self._byte_level or self.is_special(token)):
            return self._added[token].content.encode()
        word = str(self._tokenizer.convert_ids_to_tokens(token))
        if self._byte_level:
            return bytes(byte for character in word for byte in _byte_of().get(character, character.encode()))
        if len(word) == 6 and word.startswith("<0x") and word.endswith(">"):
            return bytes([int(word[3:5], 16)])
        return word.replace("\u2581", " ").encode()  # SentencePiece's space

    def text(self, token: int) -> str:
        """Returns the text that a token stands for, or ``bytes:...`` if it is a part of a character."""
        raw = self.raw(token)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


@functools.cache
def _byte_of() -> dict[str, bytes]:
    """Returns the byte that each character of a byte-level vocabulary stands for (GPT-2's table).

    Printable bytes stand for themselves, and the others follow from U+0100 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("\u00a1"), ord("\u00ac") + 1), *range(ord("\u00ae"), 256)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): bytes([byte]) for byte in printable}
    return table | {chr(256 + number): bytes([byte]) for number, byte in enumerate(others)}
