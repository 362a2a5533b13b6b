"""The converter of released checkpoints: its plan, what it reads, what it refuses."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor, BertTokenizer

from modeling_radir import RadIRConfig, RadIRModel, RadIRProcessor
from modeling_radir.conversion import released as convert_released
from modeling_radir.conversion.released import check_keys, convert_checkpoint, empty_model
from modeling_radir.conversion.released_config import released_config
from tests.modeling_radir import tiny
from tests.modeling_radir.conversion import released

BETA = "visual_transformer.enc_spatial_transformer.layers.1.1.norm.beta"


def _convert(folder, state, name="RadIR.safetensors", **arguments):
    """The report on a checkpoint of this state, converted to folder / "out"."""
    source = folder / name
    if source.suffix == ".safetensors":
        save_file(state, source)
    else:
        torch.save(state, source)
    arguments = {"overrides": released.small_overrides()} | arguments
    return convert_checkpoint(source, folder / "out", **arguments)


def _refused(folder, state, **arguments):
    """What is said about a checkpoint that is refused, after which nothing may lie about."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the callers look at the message
        _convert(folder, state, **arguments)
    assert [path.name for path in folder.iterdir()] == ["RadIR.safetensors"]
    return str(caught.value)


def test_made_up_checkpoints_have_the_released_keys_and_shapes(shared_data):
    folder = released.reference(shared_data)
    listed = json.loads((folder / "full_state_dicts" / "radir.json").read_text())
    assert released.shapes(released.FULL) == {name: tuple(shape) for name, (shape, _) in listed.items()}


def test_the_plan_covers_every_released_key_at_full_size():
    shapes = released.shapes(released.FULL)
    model = empty_model(released_config(shapes))
    kept, dropped = check_keys(shapes, model, "RadIR.pt")
    names = {name for name, _ in dropped}
    assert len(shapes) == 578
    assert names | kept.keys() == shapes.keys()
    assert not names & kept.keys()
    # The release's count leaves out buffers: zero shifts and the codebook.
    buffers = {name for name in names if name.endswith("beta") or ".vq." in name}
    unused = sum(math.prod(shapes[name]) for name in names - buffers)
    assert model.num_parameters() + unused == 173_027_305


def test_the_configuration_at_full_size_is_the_released_one():
    config = released_config(released.shapes(released.FULL))
    default = RadIRConfig(vision_config={"model_type": "radir_ctvit"})
    for part in ("vision_config", "text_config", "fusion_config"):
        assert getattr(config, part).to_dict() == getattr(default, part).to_dict()
    assert config.projection_dim == 512


def test_sizes_are_read_from_the_shapes(tmp_path):
    report = _convert(tmp_path, released.state())
    config = RadIRConfig.from_pretrained(tmp_path / "out")
    vision, text, fusion = config.vision_config, config.text_config, config.fusion_config
    assert (vision.hidden_size, vision.patch_size, vision.temporal_patch_size) == (32, 4, 2)
    assert (vision.num_attention_heads, vision.head_dim, vision.intermediate_size) == (2, 8, 85)
    layers = vision.num_spatial_layers, vision.num_temporal_layers, vision.num_class_layers
    assert (layers, vision.num_null_kv) == ((2, 1, 1), 0)
    assert (text.vocab_size, text.hidden_size, text.max_position_embeddings) == (33, 24, 16)
    assert (text.num_hidden_layers, text.intermediate_size) == (2, 48)
    assert (fusion.num_hidden_layers, fusion.intermediate_size, fusion.hidden_size) == (2, 40, 32)
    assert report.sizes["vision_config.patch_size"] == 4
    assert report.assumed["vision_config.attention_scale"] == 8**-0.5
    assert report.assumed["text_config.num_attention_heads"] == 2
    assert report.num_parameters == RadIRModel.from_pretrained(tmp_path / "out").num_parameters()


def test_weights_go_where_they_belong_in_float32(tmp_path):
    state = released.state()
    _convert(tmp_path, {name: value.half() for name, value in state.items()})
    ours = load_file(tmp_path / "out" / "model.safetensors")
    assert {value.dtype for value in ours.values()} == {torch.float32}
    state = {name: value.half().float() for name, value in state.items()}
    joint = state["fusion_module.layers.1.multihead_attn.in_proj_weight"]
    for rows, name in ((slice(32), "query"), (slice(32, 64), "key"), (slice(64, 96), "value")):
        assert torch.equal(ours[f"fusion_model.layers.1.attention.{name}.weight"], joint[rows])
    theirs = state["visual_transformer.enc_cls_transformer.layers.0.3.4.weight"]
    assert torch.equal(ours["vision_model.tower.gather.layers.0.feed_forward.narrow.weight"], theirs)
    # The released loss multiplies cosines by exp(temperature) / 0.1.
    factor = math.exp(state["temperature"].item()) / 0.1
    assert ours["logit_scale"].exp().item() == pytest.approx(factor, rel=1e-6)


@pytest.mark.parametrize("packed", ["package", "bare"])
def test_every_form_of_the_file_gives_the_same_model(tmp_path, packed):
    state = released.state()
    whole = {"model": state, "optim": {"state": {}, "param_groups": [{"lr": 1e-4}]}, "step": 3}
    for folder in ("pt", "tensors"):
        (tmp_path / folder).mkdir()
    _convert(tmp_path / "pt", whole if packed == "package" else state, "RadIR.pt")
    _convert(tmp_path / "tensors", state)
    one, other = (load_file(tmp_path / name / "out" / "model.safetensors") for name in ("pt", "tensors"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_converted_folder_is_an_ordinary_model(tmp_path):
    _convert(tmp_path, released.state())
    model = AutoModel.from_pretrained(tmp_path / "out").eval()
    assert isinstance(model, RadIRModel)
    for shape in ((1, 1, 16, 16), (1, 1, 4, 16, 16)):
        features = model.get_image_features(torch.rand(shape))
        assert features.isfinite().all()


def test_a_file_that_runs_code_when_read_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read as tensors"):
        _convert(tmp_path, {"model": pytest.approx}, "RadIR.pt")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file"),
        (b"not a checkpoint", "cannot be read as tensors"),
        ([1, 2], "holds no state dict"),
        ({"temperature": 1.0}, r"no tensors, under temperature"),
    ],
)
def test_other_files_are_refused_with_a_sentence(tmp_path, content, message):
    path = tmp_path / "RadIR.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(path, tmp_path / "out")


def test_all_keys_that_are_missing_extra_or_of_another_shape_are_listed(tmp_path):
    state = released.state()
    missing = ("temperature", "visual_transformer.enc_cls_transformer.cls_token", "fusion_module.norm.bias")
    for name in missing:
        del state[name]
    reshaped = (
        "visual_transformer.modal_embeddings.weight",
        "fusion_module.layers.1.linear2.bias",
        "visual_transformer.enc_temporal_transformer.layers.0.1.null_kv",
        "visual_transformer.to_patch_emb_first_frame.1.weight",
    )
    for name in reshaped:
        state[name] = torch.zeros(5)
    extra = ("visual_transformer.to_pixels.0.weight", "to_text_latent_extra.weight")
    state |= {name: torch.zeros(7) for name in extra}
    # The width is read from a table that is wrong here, so it is given.
    overrides = released.small_overrides()
    overrides["vision_config"] |= {"hidden_size": 32, "patch_size": 4, "temporal_patch_size": 2}
    said = _refused(tmp_path, state, overrides=overrides)
    groups = {"missing (3)": missing, "extra (2)": extra, "of another shape (4)": reshaped}
    places = [said.index(f"{title}:") for title in groups] + [len(said)]
    for (title, names), start, end in zip(groups.items(), places[:-1], places[1:], strict=True):
        lines = said[start:end].strip().splitlines()[1:]
        assert sorted(line.split()[0] for line in lines) == sorted(names), title
    assert "fusion_module.layers.1.linear2.bias (5,) instead of (32,)" in said


def test_a_checkpoint_of_another_model_lists_everything(tmp_path):
    said = _refused(tmp_path, {"transformer.wte.weight": torch.zeros(3, 2)}, overrides=None)
    assert "transformer.wte.weight (3, 2)" in said
    assert "text_transformer.encoder.layer.11.output.dense.weight (768, 3072)" in said


def test_what_changes_no_feature_may_be_absent_and_is_reported(tmp_path):
    state = released.state()
    whole = _convert(tmp_path, state)
    reasons = dict(whole.dropped)
    assert reasons["text_transformer.pooler.dense.weight"] == "the forward pass does not use it"
    assert reasons[BETA] == "always zero"
    assert reasons["visual_transformer.enc_cls_transformer.layers.0.1.null_kv"] == "empty"
    assert {"visual_transformer.vq._codebook.embed", "fusion_module.layers.0.norm1.bias"} <= reasons.keys()
    (tmp_path / "less").mkdir()
    less = {name: value for name, value in state.items() if name not in reasons}
    less["text_transformer.embeddings.position_ids"] = torch.arange(16)[None]
    report = _convert(tmp_path / "less", less)
    assert [name for name, _ in report.dropped] == ["text_transformer.embeddings.position_ids"]
    one, other = (load_file(folder / "out" / "model.safetensors") for folder in (tmp_path, tmp_path / "less"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_shift_that_is_not_zero_is_refused(tmp_path):
    state = released.state()
    state[BETA][3] = 0.5
    assert BETA in _refused(tmp_path, state)


def test_no_head_count_that_does_not_divide_is_guessed(tmp_path):
    overrides = {"vision_config": {"image_size": 16}, "text_config": {"num_attention_heads": 5}}
    assert '{"text_config": {"num_attention_heads"' in _refused(
        tmp_path, released.state(), overrides=overrides
    )


def test_overrides_come_from_a_file_too(tmp_path):
    overrides = released.small_overrides()
    overrides["fusion_config"] = {"position_layout": "concatenated"}
    overrides["vision_config"]["attention_scale"] = 8.0
    path = tmp_path / "overrides.json"
    path.write_text(json.dumps(overrides))
    report = _convert(tmp_path, released.state(), overrides=path)
    assert report.assumed["fusion_config.position_layout"] == "concatenated"
    config = RadIRConfig.from_pretrained(tmp_path / "out")
    assert (config.vision_config.attention_scale, config.fusion_config.position_layout) == (
        8.0,
        "concatenated",
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"vision_config": {"atention_scale": 8}}, "nearest known: 'attention_scale'"),
        ({"fusion_confg": {}}, "nearest known: 'fusion_config'"),
        ({"attention_scale": 8}, 'belongs into vision_config: write {"vision_config": {"attention_scale": '),
        ({"vision_config": 8}, "an object of settings is needed"),
        ({"vision_config": {"temporal_grid_order": "wrong"}}, "one of"),
    ],
)
def test_overrides_that_are_not_known_are_refused(tmp_path, overrides, message):
    assert message in _refused(tmp_path, released.state(), overrides=overrides)


@pytest.mark.parametrize(("text", "message"), [("{", "cannot be read as JSON"), ("[1]", "hold a list")])
def test_a_file_of_overrides_that_is_no_object_is_refused(tmp_path, text, message):
    path = tmp_path / "overrides.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        _convert(tmp_path, released.state(), overrides=path)


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="give a new or empty folder"):
        _convert(tmp_path, released.state())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_a_conversion_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(self, folder, *args, **kwargs):
        folder.mkdir()
        (folder / "config.json").write_text("{")
        raise OSError("no space left on device")

    monkeypatch.setattr(RadIRModel, "save_pretrained", full_disk)
    with pytest.raises(OSError, match="no space"):
        _convert(tmp_path, released.state())
    assert [path.name for path in tmp_path.iterdir()] == ["RadIR.safetensors"]


@pytest.mark.parametrize(
    ("images", "size"),
    [("cxr", {"height": 16, "width": 16}), ("ct", {"depth": 240, "height": 16, "width": 16})],
)
def test_with_a_tokenizer_the_folder_has_a_processor_and_answers_by_name(tmp_path, images, size):
    tiny.tokenizer(max_length=512).save_pretrained(tmp_path / "words")
    names = ["heart", "left pleura"]
    report = _convert(
        tmp_path, released.state(), tokenizer=tmp_path / "words", anatomies=names, images=images
    )
    assert report.remarks == []
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert isinstance(processor, RadIRProcessor)
    assert processor.tokenizer.model_max_length == 16  # the text tower's positions
    assert {key: processor.image_processor.size[key] for key in size} == size
    model = RadIRModel.from_pretrained(tmp_path / "out").eval()
    assert list(model.config.anatomies) == names
    pixel_values = torch.rand(1, 1, 16, 16)
    by_name = model.get_conditional_features(pixel_values, anatomy=names)
    tokens = processor(text=names, return_tensors="pt")
    by_tokens = model.get_conditional_features(pixel_values, tokens["input_ids"], tokens["attention_mask"])
    torch.testing.assert_close(by_name, by_tokens)


def test_without_a_tokenizer_the_report_says_that_there_is_no_processor(tmp_path):
    report = _convert(tmp_path, released.state())
    assert len(report.remarks) == 1
    assert "no processor was written" in report.remarks[0]
    assert "knows 30522 pieces and this text tower 33" in report.remarks[0]
    assert not (tmp_path / "out" / "processor_config.json").exists()


def test_names_without_a_tokenizer_are_not_known_and_the_report_says_so(tmp_path):
    report = _convert(tmp_path, released.state(), anatomies=["heart"])
    assert "knows no anatomy by its name" in report.remarks[1]
    assert RadIRModel.from_pretrained(tmp_path / "out").config.anatomies == {}


def test_tokenizers_that_do_not_fit_are_refused(tmp_path):
    said = _refused(tmp_path, released.state(), tokenizer=str(tmp_path / "nothing"))
    assert "nothing cannot be loaded" in said
    said = _refused(tmp_path, released.state(), tokenizer="microsoft/BiomedVLP-CXR-BERT-specialized")
    assert "name the tokenizer that it was trained with" in said
    with pytest.raises(ValueError, match="'cxr' or 'ct'"):
        _convert(tmp_path, released.state(), images="mri")


def test_a_tokenizer_of_another_vocabulary_or_of_none_is_refused(tmp_path):
    words = tiny.tokenizer()
    words.add_tokens(["cardiomegaly"])
    words.save_pretrained(tmp_path / "words")
    with pytest.raises(ValueError, match="knows 34 pieces and the text tower 33"):
        _convert(tmp_path, released.state(), tokenizer=tmp_path / "words")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no vocabulary here"):
        _convert(tmp_path, released.state(), tokenizer=tmp_path / "empty")
    assert not (tmp_path / "out").exists()


def test_the_released_tokenizer_out_of_reach_leaves_the_processor_out_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(convert_released, "TEXT_TOWER_VOCABULARY", 33)
    monkeypatch.setattr(convert_released.BertTokenizer, "from_pretrained", lambda source: BertTokenizer())
    report = _convert(tmp_path, released.state())
    assert "BiomedVLP-CXR-BERT-specialized has no vocabulary here" in report.remarks[0]
    assert not (tmp_path / "out" / "tokenizer.json").exists()
    assert (tmp_path / "out" / "model.safetensors").is_file()
