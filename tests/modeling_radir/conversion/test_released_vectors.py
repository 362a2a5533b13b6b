"""A converted checkpoint against the released code's numbers, stage by stage (fp32, CPU)."""

from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from modeling_radir import RadIRModel
from modeling_radir.conversion.released import convert_checkpoint
from modeling_radir.modeling_fusion import sine_positions
from tests.modeling_radir.conversion.released import OVERRIDES, reference

# Their name of a step of a transformer layer, and our module with the end of it that is meant.
STEPS = {
    "peg_branch": ("position_convolution", "out"),
    "attn_in": ("attention", "in"),
    "attn_branch": ("attention", "out"),
    "ff_in": ("feed_forward", "in"),
    "ff_branch": ("feed_forward", "out"),
}


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def vectors(shared_data):
    return reference(shared_data) / "vectors"


@pytest.fixture(scope="module")
def inputs(vectors):
    return load_file(vectors / "radir_inputs.safetensors")


@pytest.fixture(scope="module")
def model(vectors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted") / "radir"
    convert_checkpoint(vectors / "radir_weights.safetensors", folder, OVERRIDES)
    return RadIRModel.from_pretrained(folder).eval()


class Watch:
    """What goes into and comes out of every module while the block runs, by module name and "in" or "out"."""

    def __init__(self, model: RadIRModel):
        self.model = model
        self.seen: dict[tuple[str, str], Any] = {}

    def __enter__(self):
        self.hooks = [
            module.register_forward_hook(lambda _, args, out, name=name: self._keep(name, args, out))
            for name, module in self.model.named_modules()
        ]
        return self

    def _keep(self, name, args, out):
        self.seen[name, "in"] = args[0] if args else None
        self.seen[name, "out"] = out

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()


def _close(ours, expected, name):
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0, msg=lambda text: f"{name}: {text}")


def _expected_steps(frames):
    """Their name of every step within the image tower, and where it is in ours."""
    tower = "vision_model.tower"
    steps = {
        "patch_tokens": (f"{tower}.{'frame' if frames == 1 else 'volume'}_embedding", "out"),
        "spatial_pos_bias": (f"{tower}.position_bias", "out"),
    }
    for stage in ("spatial",) if frames == 1 else ("spatial", "temporal"):
        steps[f"{stage}_in"] = (f"{tower}.{stage}", "in")
        steps[f"{stage}_out"] = (f"{tower}.{stage}", "out")
        for theirs, (module, end) in STEPS.items():
            steps[f"{stage}_L0_{theirs}"] = (f"{tower}.{stage}.layers.0.{module}", end)
    return steps


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("kind", "frames"), [("cxr", 1), ("ct", 2)])
def test_every_step_of_whole_images_and_reports_equals_the_released_codes(
    model, vectors, inputs, kind, frames, attention
):
    expected = load_file(vectors / f"radir_{kind}_uncond.safetensors")
    model.set_attn_implementation(attention)
    images = inputs[kind][:, :, 0] if kind == "cxr" else inputs[kind]
    rows = len(images)
    with Watch(model) as watch:
        ours = {"image_latent": model.get_image_features(images)}
        texts = inputs["input_ids"][:rows], inputs["attention_mask"][:rows]
        ours["text_latent"] = model.get_text_features(*texts)
    seen = watch.seen
    ours |= {name: seen[place] for name, place in _expected_steps(frames).items()}
    gather = "vision_model.tower.gather"
    ours["cls_in"], ours["cls_embedding"] = (seen["vision_model", "out"][key] for key in ("tokens", "pooled"))
    ours["cls_L0_attn_in"] = seen[f"{gather}.layers.0.attention", "in"]
    ours["cls_out_full"] = seen[gather, "out"]
    ours["image_latent_prenorm"] = seen["visual_projection", "out"]
    ours["text_hidden"] = seen["text_model.tower", "out"].last_hidden_state
    ours["text_latent_prenorm"] = seen["text_projection", "out"]
    ours["exp_temperature"] = model.logit_scale.exp()[None] * 0.1  # theirs is divided by 0.1 in the loss
    without = expected.pop("image_latent_no_modality")
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        _close(ours[name].reshape(value.shape), value, name)
    table = model.vision_model.tower.modality_embedding.weight
    kept = table.clone()
    table.zero_()
    _close(model.get_image_features(images), without, "image_latent_no_modality")
    table.copy_(kept)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("kind", "anatomies", "frames"), [("cxr", 2, 1), ("ct", 1, 2)])
def test_every_step_of_conditional_features_equals_the_released_codes(
    model, vectors, inputs, kind, anatomies, frames, attention
):
    expected = load_file(vectors / f"radir_{kind}_cond.safetensors")
    model.set_attn_implementation(attention)
    images = inputs["cxr_cond"].flatten(0, 1)[:, :, 0] if kind == "cxr" else inputs["ct"]
    names = (inputs[f"anatomy_{key}"][:anatomies] for key in ("input_ids", "attention_mask"))
    with Watch(model) as watch:
        fused = model.get_conditional_features(images, *names)  # (anatomies * n, anatomies, d)
    seen, each = watch.seen, len(images) // anatomies

    def theirs(rows):  # (anatomies * n, anatomies, d) -> (1, anatomies * n, d): each image's own anatomy
        own = rows.unflatten(0, (anatomies, each))[range(anatomies), :, range(anatomies)]
        return own.flatten(0, 1)[None]

    layers, layer = "fusion_model.layers", "fusion_model.layers.0"
    ours = {"query": seen["text_projection", "out"].repeat_interleave(each, 0)[None]}
    ours |= {f"fusion_L{i}_out": theirs(seen[f"{layers}.{i}", "out"]) for i in range(4)}
    ours["fusion_L0_attn_branch"] = theirs(seen[f"{layer}.attention", "out"])
    ours["memory"] = seen["vision_model", "out"].tokens.transpose(0, 1)
    ours["pos_embedding"] = sine_positions((3, 3), 64)[None]
    first = model.fusion_model.layers[0]
    keys = ours["memory"].transpose(0, 1) + ours["pos_embedding"]
    queries = first.attention_norm(seen["text_projection", "out"]).expand(len(images), -1, -1)
    weights = first.attention.weights(queries, keys).mean(dim=1)  # (anatomies * n, anatomies, N)
    ours["fusion_L0_attn_weights"] = theirs(weights)[0][:, None]
    ours["fusion_out"] = theirs(seen["fusion_model.norm", "out"])
    ours["fused_prenorm"] = theirs(seen["fusion_model.projection", "out"])[0]
    ours["fused_latent"] = theirs(fused)[0].unflatten(0, (anatomies, each))
    ours["similarity"] = ours["fused_latent"] @ ours["fused_latent"].transpose(1, 2)
    if kind == "ct":
        ours |= {name: seen[place] for name, place in _expected_steps(frames).items()}
    del expected["fused_latent_literal24"]  # rows of a 24 x 24 table for a 3 x 3 grid
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        _close(ours[name], value, name)


def test_conditional_features_leave_the_class_stage_out(model, inputs):
    names = inputs["anatomy_input_ids"], inputs["anatomy_attention_mask"]
    with Watch(model) as watch:
        model.get_conditional_features(inputs["ct"], *names)
    assert ("vision_model.tower.temporal", "out") in watch.seen
    assert ("vision_model.tower.gather", "out") not in watch.seen


def test_checkpoints_with_null_keys_and_values_convert_too(vectors, inputs, tmp_path):
    variant = load_file(vectors / "radir_variant_one_null_kv.safetensors")
    weights = load_file(vectors / "radir_weights.safetensors")
    given = {name.removeprefix("weights."): v for name, v in variant.items() if name.startswith("weights.")}
    assert given.keys() <= weights.keys()
    save_file({**weights, **given}, tmp_path / "variant.safetensors")
    report = convert_checkpoint(tmp_path / "variant.safetensors", tmp_path / "out", OVERRIDES)
    assert report.sizes["vision_config.num_null_kv"] == 1
    model = RadIRModel.from_pretrained(tmp_path / "out").eval()
    names = [inputs[f"anatomy_{key}"] for key in ("input_ids", "attention_mask")]
    for attention in ("sdpa", "eager"):
        model.set_attn_implementation(attention)
        for kind in ("cxr", "ct"):
            expected = variant[f"outputs.radir_{kind}_uncond.image_latent"]
            _close(model.get_image_features(inputs[kind]), expected, f"{kind} {attention}")
        fused = model.get_conditional_features(inputs["cxr_cond"].flatten(0, 1), *names)
        own = fused.unflatten(0, (2, 3))[range(2), :, range(2)]
        _close(own, variant["outputs.radir_cxr_cond.fused_latent"], f"cxr conditional {attention}")
        fused = model.get_conditional_features(inputs["ct"], names[0][:1], names[1][:1])
        _close(
            fused[:, 0][None], variant["outputs.radir_ct_cond.fused_latent"], f"ct conditional {attention}"
        )


def test_the_sine_table_of_the_real_grid_is_the_released_one(vectors):
    expected = load_file(vectors / "pos_table_24x24x512_rows.safetensors")
    table = sine_positions((24, 24), 512)
    torch.testing.assert_close(table[expected["row_index"].long()], expected["rows"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("part", "field", "value", "kind"),
    [
        ("vision_config", "attention_scale", 8.0, "cxr"),
        ("vision_config", "causal_position_convolution", True, "cxr"),
        ("vision_config", "temporal_grid_order", "true", "ct"),
    ],
)
def test_what_the_weights_cannot_tell_changes_the_features(
    vectors, inputs, tmp_path, part, field, value, kind
):
    overrides = {**OVERRIDES, part: {**OVERRIDES[part], field: value}}
    report = convert_checkpoint(vectors / "radir_weights.safetensors", tmp_path / "out", overrides)
    assert report.assumed[f"{part}.{field}"] == value
    other = RadIRModel.from_pretrained(tmp_path / "out").eval().get_image_features(inputs[kind])
    released = load_file(vectors / f"radir_{kind}_uncond.safetensors")["image_latent"]
    assert (other - released).abs().max() > 1e-3
