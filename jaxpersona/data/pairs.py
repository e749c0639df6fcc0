"""The pair schema: a prompt with the persona's answer and the opposite answer."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import SupportsIndex, overload

import numpy as np


@dataclasses.dataclass(frozen=True)
class Pair:
    """A contrastive example.

    Attributes:
      prompt: the question; may be empty.
      matching: the persona's answer.
      not_matching: the opposite answer.
      system: system text before the prompt, or empty.
      letter: the persona's option, A or B, if the file lists the answers as options; else empty. Ignored in comparisons.
    """

    prompt: str
    matching: str
    not_matching: str
    system: str = ""
    letter: str = dataclasses.field(default="", compare=False)

    def swapped(self) -> "Pair":
        """Returns the pair with its answers exchanged."""
        letter = {"A": "B", "B": "A"}.get(self.letter, "")
        return dataclasses.replace(self, matching=self.not_matching, not_matching=self.matching, letter=letter)

    @property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of question and answers, the same if the answers are exchanged."""
        texts = [self.prompt.strip(), *sorted((self.matching.strip(), self.not_matching.strip()))]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Pairs(Sequence[Pair]):
    """A sequence of pairs, with the data spec it was read from."""

    source: str
    items: tuple[Pair, ...]

    @overload
    def __getitem__(self, index: SupportsIndex) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> "Pairs": ...
    def __getitem__(self, index: SupportsIndex | slice) -> "Pair | Pairs":
        return dataclasses.replace(self, items=self.items[index]) if isinstance(index, slice) else self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.items)

    def sample(self, count: int, seed: int = 42) -> "Pairs":
        """Draws ``count`` pairs without replacement, in their original order; all if there are fewer."""
        if count >= len(self):
            return self
        chosen = np.random.default_rng(seed).choice(len(self), size=count, replace=False)
        return dataclasses.replace(self, items=tuple(self.items[i] for i in sorted(chosen)))

    @property
    def digest(self) -> str:
        """SHA-256 of the contents, independent of the file they came from."""
        rows = [(pair.prompt, pair.matching, pair.not_matching, pair.system) for pair in self]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
