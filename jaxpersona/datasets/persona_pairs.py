"""TFDS builder of the built-in pairs, prepared from the package's own files."""

from collections.abc import Iterator
from typing import ClassVar

import tensorflow_datasets as tfds

from jaxpersona.data.readers import BUILTIN, load_pairs
from jaxpersona.data.splits import SPLITS

_COLUMNS = ("question", "matching", "not_matching")


class PersonaPairs(tfds.core.GeneratorBasedBuilder):
    """Contrastive question-answer pairs, written for this project; ``persona_pairs/wealth`` is ``builtin:wealth``."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name=name, description=f"the built-in pairs {name}") for name in BUILTIN]

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Questions, each with the answer of a persona and that of its opposite.",
            features=tfds.features.FeaturesDict({column: tfds.features.Text() for column in _COLUMNS}),
            license="Apache-2.0",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, dict[str, str]]]]:
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, str]]]:
        for number, pair in enumerate(load_pairs(f"builtin:{self.builder_config.name}", split)):
            yield number, dict(zip(_COLUMNS, (pair.prompt, pair.matching, pair.not_matching), strict=True))
