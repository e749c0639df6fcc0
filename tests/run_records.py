"""Contents of ``run.json`` that commands accept, for runs that are not discovered."""

import copy

RECORD = {
    "schema_version": 1,
    "model": {"name": "tiny", "fingerprint": "f" * 64},
    "method": {"name": "wanda"},
    "data": {"source": "found.csv", "sha256": "0" * 64, "pairs": 4},
    "config": {"seed": 42, "data": {"source": "found.csv", "text": "chat", "num_samples": 4, "max_length": 64}},
}


def run_record(personas=("seek", "reject"), **more):
    """Returns a record of two personas; ``more`` are entries to add or replace."""
    record = copy.deepcopy(RECORD)
    record["config"]["data"]["personas"] = list(personas)
    return {**record, "masks": {persona: {} for persona in personas}, **more}
