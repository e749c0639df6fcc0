"""Command: the perplexity of a model as it is, the check that it was loaded right.

python -m jaxpersona.perplexity --model.name smollm2-135m-instruct --text wikitext2_test.txt
"""

import functools

from jaxpersona import cli
from jaxpersona.config import PerplexityConfig


def main(config: PerplexityConfig) -> None:
    """Prints the perplexity and what it was measured on."""
    from jaxpersona.distributed import make_mesh
    from jaxpersona.language_modelling import perplexity, read_text, windows
    from jaxpersona.models.model import load_model

    text, mesh = read_text(config.text), make_mesh(config.mesh.data, config.mesh.model)
    with cli.progress_bars() as report:
        model = load_model(config.model.name, config.model.dtype, functools.partial(report, "load"), mesh)
        tokens = windows(model, text, config.max_tokens, config.window)
        value = perplexity(model, model.params, tokens, functools.partial(report, "perplexity"))
    print(f"{config.model.name} ({model.origin}): perplexity {value:.2f} on {tokens.size} tokens of {config.text}")


if __name__ == "__main__":
    cli.run("perplexity", PerplexityConfig, main)
