"""Configurations of models, for tests of sizes and plans."""

from jaxpersona.models.config import ModelConfig, Rope

LLAMA_8B = ModelConfig("LlamaForCausalLM", 128256, 4096, 14336, 32, 32, 8, 128, 8192, 1e-5, Rope())
SMALL = [
    {"num_layers": 2, "hidden_size": 256, "intermediate_size": 704, "num_heads": 4, "num_kv_heads": 2},
    {"num_layers": 4, "hidden_size": 512, "intermediate_size": 1024, "num_heads": 8, "num_kv_heads": 2},
    {"num_layers": 3, "hidden_size": 384, "intermediate_size": 1536, "num_heads": 6, "num_kv_heads": 6},
]


def config_of(**shape):
    """Returns a Llama with heads of 64 channels and a vocabulary of 512."""
    return ModelConfig("LlamaForCausalLM", 512, head_dim=64, max_positions=2048, norm_eps=1e-5, rope=Rope(), **shape)
