"""Command: answers a prompt under a persona of a run.

python -m jaxpersona.generate --run runs/quickstart --persona seek --prompt "How would you spend a bonus?"
"""

from jaxpersona import cli
from jaxpersona.config import GenerateConfig


def main(config: GenerateConfig) -> None:
    """Prints the text."""
    from jaxpersona.bundle import load_masks
    from jaxpersona.inference.decoding import generate
    from jaxpersona.inference.sampling import Sampling
    from jaxpersona.models.model import load_model
    from jaxpersona.run_folder import persona_bundle, read_run

    sampling = Sampling(config.temperature, config.top_k, config.top_p)
    name = read_run(config.run)["model"]["name"]
    bundle = None if config.persona == "none" else persona_bundle(config.run, config.persona)
    model = load_model(name, config.dtype)
    masks = None if bundle is None else load_masks(bundle, model)
    options = {"gamma": config.gamma, "max_new_tokens": config.max_new_tokens, "chat": config.chat, "system": config.system}
    print(*generate(model, [config.prompt], masks, **options, sampling=sampling, seed=config.seed))


if __name__ == "__main__":
    cli.run("generate", GenerateConfig, main)
