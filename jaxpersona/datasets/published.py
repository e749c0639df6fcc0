"""Base of the builders of published data: files of a pinned commit, checked against their digests."""

import abc
import importlib.resources
import pathlib
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from jaxpersona.core.download import fetch, matches
from jaxpersona.core.errors import InputError
from jaxpersona.core.files import cache_folder
from jaxpersona.data.splits import SPLITS, split_of


class Published(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Builder of text examples from published files.

    A subclass names the address of its files, their digests in ``files/NAME.tsv``, and its examples by split.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Without a network, put the files of the error messages here, under their paths."
    BASE: ClassVar[str]
    """Address of the folder that the paths of files are relative to, at a fixed commit."""
    HOMEPAGE: ClassVar[str]
    LICENCE: ClassVar[str]
    CITATION: ClassVar[str]
    DESCRIPTION: ClassVar[str]
    FEATURES: ClassVar[Mapping[str, Any]] = dict.fromkeys(("question", "matching", "not_matching"), tfds.features.Text())

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=tfds.features.FeaturesDict(dict(self.FEATURES)),
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
            license=self.LICENCE,
            disable_shuffling=True,  # the published order
        )

    @abc.abstractmethod
    def rows(self, read: Callable[[str], str]) -> Mapping[str, Iterable[Mapping[str, Any]]]:
        """Returns the examples by split; ``read`` returns the text of a published file by its path."""

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        splits = self.rows(lambda path: self.file(path, dl_manager).read_text(encoding="utf-8"))
        return {split: self._generate_examples(rows) for split, rows in splits.items()}

    def _generate_examples(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, row in enumerate(rows):
            yield number, {name: row[name] for name in self.FEATURES}

    def file(self, path: str, dl_manager: tfds.download.DownloadManager) -> pathlib.Path:
        """Returns a published file: that in the manual folder, else downloaded to the cache folder.

        Raises:
          InputError: if it cannot be had, or is not the published one.
        """
        digest = digests(self.name)[path]
        # not the property ``manual_dir``, which refuses a folder that does not exist
        by_hand = pathlib.Path(dl_manager._manual_dir or "") / self.name / path
        if by_hand.is_file():
            if not matches(by_hand, digest):
                raise InputError(f"{by_hand} is not the published file (its digest is not {digest[:12]}...); replace it")
            return by_hand
        url = self.BASE + urllib.parse.quote(path)
        return fetch(url, cache_folder() / "downloads" / self.name / path, digest, f"put it as {by_hand}")


def digests(name: str) -> dict[str, str]:
    """Returns the digests of a builder's files by path: SHA-256, the git blob id if only that is known, or empty."""
    table = (importlib.resources.files("jaxpersona.datasets") / "files" / f"{name}.tsv").read_text(encoding="utf-8")
    return {path: digest for digest, path in (line.split("\t") for line in table.splitlines())}


def in_splits(rows: Iterable[Mapping[str, Any]], key: str) -> dict[str, list[Mapping[str, Any]]]:
    """Splits rows of a set published in one piece by ``row[key]`` (``splits.split_of``)."""
    splits: dict[str, list[Mapping[str, Any]]] = {split: [] for split in SPLITS}
    for row in rows:
        splits[split_of(row[key])].append(row)
    return splits
