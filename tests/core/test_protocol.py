"""Protocols differ in each documented choice, one test per choice, and the scripts' masks agree with NumPy."""

import csv
import json

import numpy as np
import pytest
import scripts_in_numpy
from conftest import write_model

import jaxpersona as jp
from jaxpersona.core.errors import InputError
from jaxpersona.core.protocol import OFFICIAL, PAPER, PROTOCOLS, STRICT, resolve
from jaxpersona.models.sites import HEAD, HEAD_SITE, SITE_OF, kernels, kernels_and_head, module_of
from jaxpersona.ops import topk

SEEK = ["Gold for me.", "More of it, and then some more of it, until there is no more.", "I take all", "Mine."]
REJECT = ["Not for me", "I give it to others, gladly.", "What would I do with it? I have enough, and so have you."]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lines")
    (folder / "seek.txt").write_text("\n".join(SEEK))
    (folder / "reject.txt").write_text("\n".join(REJECT))
    return f"lines:{folder}/seek.txt,{folder}/reject.txt"


@pytest.fixture(scope="module")
def calibrations(tiny_model, source):
    """Returns calibrations of the same lines by protocol."""
    return {name: jp.calibrate(tiny_model, jp.load_pairs(source), protocol=name) for name in PROTOCOLS}


@pytest.fixture(scope="module")
def find(tiny_model, calibrations):
    def masks(method, protocol):
        found = jp.find_masks(tiny_model, method, calibrations[protocol])
        return [bools(mask) for mask in found.values()]

    return masks


def bools(mask):
    leaves = kernels_and_head(mask.to_bool()) if HEAD in mask.words else kernels(mask.to_bool())
    return {path: np.asarray(leaf) for path, leaf in leaves.items()}


def moments(calibration, path):
    site = HEAD_SITE if path == HEAD else SITE_OF[module_of(path)]
    return {name: np.asarray(value, np.float64) for name, value in calibration.statistics.moments[site].items()}


def overlap(a, b):
    """Returns the Jaccard overlap of two masks by path."""
    return sum((a[path] & b[path]).sum() for path in b) / sum((a[path] | b[path]).sum() for path in b)


def highest(scores, keep):
    """Marks the ``keep`` highest scores of every output, in NumPy."""
    order = np.argsort(-scores, axis=-2, kind="stable")
    mask = np.zeros(scores.shape, bool)
    np.put_along_axis(mask, order[..., :keep, :], True, axis=-2)
    return mask


def test_protocols_by_name():
    assert [resolve(name) for name in ("strict", "paper", "official", PAPER)] == [STRICT, PAPER, OFFICIAL, PAPER]
    with pytest.raises(InputError, match="protocol 'oficial' is unknown; did you mean 'official'"):
        resolve("oficial")


def test_row_1_strength_is_a_norm_that_grows_with_length_or_a_mean(tiny_model, calibrations, find):
    method = jp.methods.Wanda(0.5)
    for protocol, name in (("strict", "mean_abs"), ("paper", "mean_abs"), ("official", "norm")):
        for persona, masks in enumerate(find(method, protocol)):
            for path, kernel in kernels(tiny_model.params).items():
                score = np.abs(np.asarray(kernel)) * moments(calibrations[protocol], path)[name][:, persona, :, None]
                assert overlap({path: highest(score, kernel.shape[1] // 2)}, {path: masks[path]}) > 0.999
    seen = calibrations["official"].statistics.moments["mlp_in"]
    assert (np.asarray(seen["norm"]) > 2 * np.asarray(seen["mean_abs"])).all()  # a dozen tokens a line


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_row_2_contrast_is_between_lines_or_between_tokens(tiny_model, activation):
    rng = np.random.default_rng(0)
    seen = {name: rng.random((2, 9)).astype(np.float32) for name in ("mean_abs", "norm", "norm_variance")}
    seen["mean_square"] = seen["mean_abs"] ** 2 + rng.random((2, 9)).astype(np.float32)
    kernel = rng.normal(size=(9, 3)).astype(np.float32)
    spread = {
        "tokens": np.sqrt((seen["mean_square"] - seen["mean_abs"] ** 2).sum(axis=0)) + 1e-6,
        "lines": np.sqrt(seen["norm_variance"].sum(axis=0) + 1e-6),
    }
    for protocol, name, temperature in ((STRICT, "mean_abs", 1), (PAPER, "mean_abs", 1), (OFFICIAL, "norm", 2)):
        z = (seen[name][0] - seen[name][1]) / spread[protocol.statistics]
        gate = np.maximum(z, 0) if activation == "relu" else np.log1p(np.exp(z / temperature))
        found = jp.methods.ContrastiveWanda(activation=activation).score(kernel, seen, None, protocol)
        np.testing.assert_allclose(found, np.abs(kernel) * gate[:, None], rtol=1e-4)


def test_row_3_ties_of_relu_go_by_the_wanda_score_or_by_index(tiny_model, find, calibrations):
    method = jp.methods.ContrastiveWanda(0.1)  # keeps more than the channels of the right sign, so that ties decide
    path = "layers/mlp/up_proj/kernel"
    kernel = np.asarray(kernels(tiny_model.params)[path])
    for protocol in PROTOCOLS:
        seen = moments(calibrations[protocol], path)
        strength = seen["norm" if protocol == "official" else "mean_abs"]
        wrong = (strength[:, 0] <= strength[:, 1])[:, :, None] & np.ones(kernel.shape, bool)
        wanda = np.abs(kernel) * seen["mean_abs"][:, 0, :, None]
        removed = wrong & ~find(method, protocol)[0][path]
        kept = wrong & ~removed
        assert (removed.sum(axis=1) == 32 - topk.budget(32, 0.1)).all()
        by_index = all(
            np.flatnonzero(removed[layer, :, out]).min() > np.flatnonzero(kept[layer, :, out]).max()
            for layer in range(3)
            for out in range(48)
        )
        by_wanda = (np.where(removed, wanda, 0).max(axis=1) <= np.where(kept, wanda, np.inf).min(axis=1)).all()
        assert (by_wanda, by_index) == ((True, False) if protocol == "strict" else (False, True))


def test_row_4_contrastive_sparse_is_the_same_for_both_labels_or_opposite(tiny_model, calibrations):
    method = jp.methods.ContrastiveSparse(0.6)
    for protocol in PROTOCOLS:
        run = jp.Run(tiny_model, method, dict.fromkeys(("seek", "reject")), calibrations[protocol], 42, {})
        seek, reject = (run.scores(persona) for persona in ("seek", "reject"))
        for path, kernel in kernels(tiny_model.params).items():
            sign = 1 if protocol == "official" else -1
            np.testing.assert_allclose(seek[path], sign * np.asarray(reject[path]), rtol=1e-5, atol=1e-8)
            if protocol == "official":
                seen = moments(calibrations[protocol], path)
                (mean, other), (variance, more) = (np.moveaxis(seen[name], 1, 0) for name in ("mean", "variance"))
                strength = np.abs(mean - other) / np.sqrt(variance + more + 1e-6)
                np.testing.assert_allclose(seek[path], np.abs(np.asarray(kernel)) * strength[:, :, None], rtol=1e-4)


def test_row_5_the_second_mask_is_refilled_or_refused(find):
    for sparsity in (0.5, 0.3):
        method = jp.methods.ContrastiveSparse(sparsity)
        for protocol in PROTOCOLS:
            if protocol != "official" and sparsity == 0.3:
                with pytest.raises(InputError, match=r"disjoint masks .* need a sparsity of at least 0.5, not 0.3"):
                    find(method, protocol)
                continue
            seek, reject = find(method, protocol)
            for path, mask in seek.items():
                shared = (mask & reject[path]).sum(axis=1)
                assert (shared == (0 if sparsity == 0.5 else 2 * mask.sum(axis=1) - mask.shape[1])).all()


def test_row_6_sparse_ranks_columns_in_blocks_or_weights_by_equation_5(tiny_model, calibrations, find):
    method = jp.methods.Sparse(0.4)
    for protocol in PROTOCOLS:
        first, second = find(method, protocol)
        for path, kernel in kernels(tiny_model.params).items():
            kernel = np.asarray(kernel, np.float64)
            if protocol == "official":
                norm = np.linalg.norm(kernel, axis=2, keepdims=True) * np.ones(kernel.shape)
                expected = highest(norm, int(kernel.shape[1] * 0.6))
                np.testing.assert_array_equal(second[path], expected)
            else:
                square = moments(calibrations[protocol], path)["mean_square"][:, 0, :, None]
                expected = highest(kernel**2 * (square + 0.01 * square.mean(axis=1, keepdims=True)), int(kernel.shape[1] * 0.6))
            assert overlap({path: expected}, {path: first[path]}) > 0.999
        assert (overlap(first, second) == 1) == (protocol == "official")


def test_row_6_every_block_of_128_columns_has_a_budget_of_its_own():
    kernel = np.random.default_rng(0).normal(size=(2, 300, 4)).astype(np.float32)
    params = {"layers": {"mlp": {"up_proj": {"kernel": kernel}}}}
    from jaxpersona.calibration.moments import Statistics
    from jaxpersona.methods.rowwise import prune

    statistics = Statistics({"mlp_in": {"mean_square": np.ones((2, 2, 300), np.float32)}}, (1, 1))
    mask, _ = prune(params, jp.methods.Sparse(0.3), statistics, protocol=OFFICIAL)
    found = kernels(mask.to_bool())["layers/mlp/up_proj/kernel"]
    norm = np.linalg.norm(kernel, axis=2)
    for start, size in ((0, 128), (128, 128), (256, 44)):
        best = highest(norm[:, start : start + size, None], int(size * 0.7))
        np.testing.assert_array_equal(found[:, start : start + size], best & np.ones(4, bool))


def test_row_7_the_head_is_pruned_or_not(tiny_model, calibrations, find):
    for method in (jp.methods.Wanda(0.25), jp.methods.Sparse(0.25), jp.methods.ContrastiveWanda(0.25)):
        assert [HEAD in find(method, protocol)[0] for protocol in ("strict", "paper")] == [False, False]
        assert (HEAD in find(method, "official")[0]) == (method.name in ("wanda", "sparse"))
    masks = jp.find_masks(tiny_model, jp.methods.Wanda(0.25), calibrations["official"])["reject"]
    head = np.asarray(tiny_model.params["lm_head"]["kernel"])
    score = np.abs(head) * moments(calibrations["official"], HEAD)["norm"][0, 1, :, None]
    assert overlap({HEAD: highest(score, 24)}, {HEAD: bools(masks)[HEAD][0]}) > 0.999
    applied = jp.apply_mask(tiny_model.params, masks)["lm_head"]["kernel"]
    np.testing.assert_array_equal(applied, head * bools(masks)[HEAD][0])
    np.testing.assert_array_equal(applied, jp.apply_mask(tiny_model.params, masks.to_bool())["lm_head"]["kernel"])
    assert HEAD not in find(jp.methods.Wanda(0.25, select="mlp"), "official")[0]


def test_row_8_lines_are_all_read_and_bos_counts_or_not(tiny_model, source):
    lines = jp.load_pairs(source)
    sizes = [[len(tiny_model.tokenizer(text)["input_ids"]) for text in texts] for texts in (SEEK, REJECT)]
    for protocol in PROTOCOLS:
        calibration = jp.calibrate(tiny_model, lines, num_samples=2, protocol=protocol)
        assert len(calibration.pairs) == (7 if protocol == "official" else 4)
        whole = jp.calibrate(tiny_model, lines, protocol=protocol)
        bos = 1 if protocol == "strict" else 0
        assert whole.statistics.tokens == tuple(sum(size) - bos * len(size) for size in sizes)


def test_row_9_budgets_are_exact_or_floating_point(find):
    assert (topk.budget(10, 0.9), topk.budget(10, 0.9, exact=False)) == (1, 0)
    for protocol, kept in (("strict", 1), ("paper", 1), ("official", 0)):
        mask = find(jp.methods.ContrastiveWanda(0.98), protocol)[0]["layers/mlp/up_proj/kernel"]
        assert (mask.sum(axis=1) == kept).all()  # of 32


def test_row_10_masked_models_are_asked_with_the_persona_prompt_or_both_ways():
    assert [protocol.persona_prompt_in_evaluation for protocol in (STRICT, PAPER, OFFICIAL)] == [False, False, True]


def test_row_11_choices_are_scored_in_all_ways_or_in_the_scripts_two():
    assert STRICT.choice_scoring == ("sum", "per_token", "per_byte")
    assert OFFICIAL.choice_scoring == ("prompt_mean", "sum")
    assert [protocol.split_choice_ties for protocol in (STRICT, PAPER, OFFICIAL)] == [True, True, False]


def test_row_12_masks_are_bits_or_bits_and_files_of_booleans(tiny_model, tiny_folder, tmp_path):
    from jaxpersona.commands import cli
    from jaxpersona.commands.discover import main
    from jaxpersona.commands.discover_config import DiscoverConfig

    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("question", "matching", "not_matching"), ("Q?", "Mine.", "Not mine."), ("R?", "All.", "No.")]
        )
    for protocol in PROTOCOLS:
        out = tmp_path / protocol
        options = [
            f"--model.name={tiny_folder}",
            f"--data.source={tmp_path / 'pairs.csv'}",
            "--perplexity.max_tokens=0",
            "--method=wanda",
        ]
        main(cli.parse("discover", DiscoverConfig, [*options, f"--protocol={protocol}", f"--output_dir={out}"]))
        names = {path.name for path in (out / "masks").iterdir()}
        assert names == {"seek", "reject"} | ({"seek.bool", "reject.bool"} if protocol == "official" else set())
        assert json.loads((out / "run.json").read_text())["protocol"]["name"] == protocol
    files = sorted((tmp_path / "official" / "masks" / "seek.bool").iterdir())
    masks = bools(jp.load_masks(tmp_path / "official" / "masks" / "seek", tiny_model))
    assert len(files) == 3 * 7 + 1
    written = np.load(tmp_path / "official" / "masks" / "seek.bool" / "model.layers.2.mlp.down_proj.weight.npy")
    assert written.dtype == bool
    np.testing.assert_array_equal(written, masks["layers/mlp/down_proj/kernel"][2].T)
    np.testing.assert_array_equal(np.load(files[0]), masks[HEAD][0].T)


@pytest.fixture(scope="module")
def wide_folder(tmp_path_factory):
    """Writes a model whose matrices have more than one block of 128 columns."""
    return write_model(tmp_path_factory.mktemp("models") / "wide", hidden_size=160, intermediate_size=144)


@pytest.fixture(scope="module", params=[jp.load_model, jp.load_streamed], ids=["in memory", "streamed"])
def official(wide_folder, source, request):
    """Returns the model and its calibration by the official protocol."""
    model = request.param(str(wide_folder), dtype="float32")
    return model, jp.calibrate(model, jp.load_pairs(source), protocol="official")


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("wanda", jp.methods.Wanda(0.4)),
        ("sparse", jp.methods.Sparse(0.4)),
        ("relu", jp.methods.ContrastiveWanda(0.6)),
        ("softplus", jp.methods.ContrastiveWanda(0.4, activation="softplus")),
        ("contrastive_sparse", jp.methods.ContrastiveSparse(0.6)),
        ("contrastive_sparse", jp.methods.ContrastiveSparse(0.3)),
    ],
)
def test_official_masks_are_those_of_the_scripts_in_numpy(wide_folder, official, name, method):
    model, calibration = official
    found = jp.find_masks(model, method, calibration)
    lines = [[model.tokenizer(text)["input_ids"] for text in texts] for texts in (SEEK, REJECT)]
    for mask, expected in zip(found.values(), scripts_in_numpy.masks(wide_folder, lines, name, method.sparsity), strict=True):
        ours = {scope: leaf.T for path, stacked in bools(mask).items() for scope, leaf in by_layer(path, stacked)}
        assert ours.keys() == expected.keys()
        assert overlap(ours, expected) >= 0.999


def by_layer(path, stacked):
    """Returns the masks of a stacked kernel with the names that their weights have in a Hugging Face folder."""
    if path == HEAD:
        return [("lm_head.weight", stacked[0])]
    inner = path.removeprefix("layers/").removesuffix("/kernel").replace("/", ".")
    return [(f"model.layers.{number}.{inner}.weight", layer) for number, layer in enumerate(stacked)]
