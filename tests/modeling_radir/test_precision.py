"""Ways to run a model that do not change what it says: SDPA, checkpointing, bf16, torch.compile."""

import pytest
import torch
import torch.nn.functional as F
from transformers.modeling_layers import GradientCheckpointingLayer

from modeling_radir import RadIRModel
from tests.modeling_radir import tiny

CASES = [*((tower, "images") for tower in tiny.TOWERS), ("ctvit", "volumes")]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def pixels(kind: str, count: int = 2) -> torch.Tensor:
    return tiny.pixel_values(count) if kind == "images" else tiny.volumes(count)


def tokens(texts: list[str]) -> dict[str, torch.Tensor]:
    return dict(tiny.processor()(text=texts, return_tensors="pt"))


def all_features(model: RadIRModel, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    names = tokens(list(tiny.ANATOMIES))
    out = model(
        images,
        **tokens(["heart normal", "no left pleural effusion"]),
        **{f"anatomy_{key}": value for key, value in names.items()},
    )
    return out.image_embeds, out.text_embeds, out.conditional_embeds


def without_dropout(model: RadIRModel) -> RadIRModel:
    """The model in training mode, but without chance."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()  # its statistics would move from one run to the next
    return model


@pytest.mark.parametrize(("tower", "kind"), CASES)
@torch.no_grad()
def test_sdpa_equals_eager_attention(tower, kind):
    sdpa, eager = tiny.model(tower), tiny.model(tower)
    assert sdpa.config._attn_implementation == "sdpa"
    eager.set_attn_implementation("eager")
    assert eager.fusion_model.layers[0].attention.config._attn_implementation == "eager"
    if tower in ("vit", "ctvit"):  # timm chooses its own kernels
        assert eager.vision_model.tower.config._attn_implementation == "eager"
    for ours, theirs in zip(all_features(sdpa, pixels(kind)), all_features(eager, pixels(kind)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("tower", "kind"), CASES)
def test_gradient_checkpointing_changes_no_gradient(tower, kind):
    gradients, calls = [], []
    for checkpointing in (False, True):
        model = without_dropout(tiny.model(tower))
        if checkpointing:
            model.activation_checkpointing_enable()
            layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
            assert all(layer.gradient_checkpointing for layer in layers)
            for layer in layers:
                layer.register_forward_hook(lambda *_: calls.append(1))
        sum(part[..., 0].sum() for part in all_features(model, pixels(kind))).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    # Each layer that takes part runs again in backward: once more than in forward.
    ran = len(calls)
    assert ran >= 2 * len(model.fusion_model.layers)
    assert gradients[0].keys() == gradients[1].keys()
    assert sum(float(g.abs().sum()) for g in gradients[0].values()) > 0
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.parametrize(("tower", "kind"), CASES)
@pytest.mark.parametrize("way", ["weights", "autocast"])
@torch.no_grad()
def test_bf16_is_finite_and_close(tower, kind, way):
    exact = all_features(tiny.model(tower), pixels(kind))
    if way == "weights":
        model = tiny.model(tower).to(torch.bfloat16)
        rounded = all_features(model, pixels(kind))
        assert all(part.dtype == torch.bfloat16 for part in rounded)
    else:
        with torch.autocast("cpu", torch.bfloat16):
            rounded = all_features(tiny.model(tower), pixels(kind))
    for ours, theirs in zip(rounded, exact, strict=True):
        assert ours.isfinite().all()
        assert F.cosine_similarity(ours.float(), theirs, dim=-1).min() > 0.99


def test_a_model_can_be_loaded_in_bf16(tmp_path):
    tiny.model("ctvit").save_pretrained(tmp_path)
    model = RadIRModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.get_image_features(tiny.volumes(1)).isfinite().all()


def names_of_anatomies() -> dict[str, torch.Tensor]:
    return {f"anatomy_{key}": value for key, value in tokens(list(tiny.ANATOMIES)).items()}


@pytest.mark.parametrize(("tower", "kind"), CASES)
@torch.no_grad()
def test_the_forward_compiles_without_graph_breaks(tower, kind):
    model = tiny.model(tower)
    asked = tokens(["heart normal", "no left pleural effusion"]) | names_of_anatomies()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    ours, theirs = compiled(pixels(kind), **asked), model(pixels(kind), **asked)
    assert ours.keys() == theirs.keys() and len(ours) == 8
    for key in theirs:
        torch.testing.assert_close(ours[key], theirs[key], atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_features_compile_without_graph_breaks_also_for_anatomies_by_name():
    model, asked = tiny.model(), list(tiny.ANATOMIES)
    for method, arguments in (
        (model.get_image_features, {}),
        (model.get_conditional_features, {"anatomy": asked}),
    ):
        compiled = torch.compile(method, fullgraph=True, backend="eager")
        ours, theirs = compiled(pixels("images"), **arguments), method(pixels("images"), **arguments)
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_a_compiled_training_step_gives_the_same_gradients():
    gradients = []
    for compiling in (False, True):
        model = without_dropout(tiny.model("ctvit"))
        run = torch.compile(model, fullgraph=True, backend="aot_eager") if compiling else model
        out = run(pixels("images"), **tokens(["heart normal", "left pleura"]), **names_of_anatomies())
        (out.logits_per_image.diagonal().sum() + out.conditional_embeds[..., 0].sum()).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 20
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-4, msg=name)
