"""A run of several processes, killed and started again, finds the masks of an undisturbed one."""

import sys

from several_processes import start_two, what_they_say

import jaxpersona as jp

KILLER = """
import itertools, os, signal, sys
from jaxpersona.calibration import calibrate
from jaxpersona.commands import cli
from jaxpersona.core import checkpoints
victim, after, wait, count = sys.argv[1], int(sys.argv[2]), checkpoints.wait_for_all, itertools.count(1)
checkpoints.EVERY_SECONDS, calibrate._BATCH_TOKENS = 0.0, 256
def counted(place):
    if place.startswith("saved") and next(count) == after and os.environ["JAX_PROCESS_ID"] == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    wait(place)
checkpoints.wait_for_all = counted
cli.main("discover", sys.argv[3:])
"""


def killed(process, after, arguments):
    """Starts the run in two processes, of which one is killed at its ``after``-th checkpoint."""
    started = start_two(sys.executable, "-c", KILLER, process, after, *arguments)
    assert started[process].wait(timeout=900) == -9, started[process].stderr.read()
    return started


def test_killed_in_two_processes_a_run_resumes(tiny_folder, tiny_model, tmp_path):
    """Kills both processes while statistics are summed, then one while masks are selected, which the other notices."""
    whole = jp.discover(tiny_model, jp.load_pairs("builtin:wealth", "train"), jp.methods.Wanda(0.4), num_samples=12)
    arguments = ["--model.name", tiny_folder, "--model.dtype", "float32", "--data.num_samples", 12, "--mesh.model", 2]
    arguments += ["--perplexity.max_tokens", 0, "--method", "wanda", "--method.sparsity", 0.4, "--output_dir", tmp_path / "run"]
    progress = tmp_path / "run" / ".jaxpersona-progress"

    first, second = killed(0, 2, arguments)
    second.kill()
    what_they_say([first, second])
    assert [path.stem for path in progress.glob("*.safetensors")] == ["calibrate-moments"]

    printed, statuses = what_they_say(killed(1, 8, arguments))
    assert statuses == [1, -9], printed
    assert printed[0][1].splitlines()[-1].startswith("error: lost contact with another process of this run (")
    assert {path.stem for path in progress.glob("*.safetensors")} == {"calibrate-moments", "mask"}

    printed, statuses = what_they_say(start_two(sys.executable, "-c", KILLER, 2, 0, *arguments))
    assert statuses == [0, 0], printed
    for persona, masks in whole.masks.items():
        assert jp.jaccard(jp.load_masks(tmp_path / "run" / "masks" / persona), masks) >= 0.9999
