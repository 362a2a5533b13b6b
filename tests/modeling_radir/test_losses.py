"""The objectives, against values worked out by hand and the released code's numbers."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from modeling_radir import ConditionalLoss, MaskedInfoNCELoss, RankedTripletLoss, UnconditionalLoss

NAN = float("nan")


def _random(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    similarity = torch.randn(count, count, generator=generator)
    relevance = torch.rand(count, count, generator=generator)
    return similarity, torch.maximum(relevance, relevance.T).fill_diagonal_(1.0)


def _slow_triplet(similarity, relevance, weighted, margin=0.1, temperature=0.07, positive=0.75, gap=0.25):
    """The definition, one triplet after the other."""
    count, means = len(similarity), []
    for i in range(count):
        terms = []
        for j in range(count):
            for k in range(count):
                difference = float(relevance[i, j] - relevance[i, k])
                if relevance[i, j] > positive and difference > gap:
                    violation = max(float(similarity[i, k] - similarity[i, j]) + margin, 0.0)
                    violation *= difference if weighted else 1.0
                    terms.append(math.log1p(math.exp(violation / temperature)))
        if terms or not weighted:
            means.append(sum(terms) / max(len(terms), 1))
    return sum(means) / max(len(means), 1)


def test_gradients_do_not_depend_on_threads():
    similarity, relevance = _random(64)
    relevance = relevance.round(decimals=1)

    def gradient(threads):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            leaf = similarity.clone().requires_grad_()
            RankedTripletLoss()(leaf, relevance).backward()
        finally:
            torch.set_num_threads(before)
        return leaf.grad

    alone = gradient(1)
    assert all(torch.equal(gradient(2), alone) for _ in range(20))  # a race would not lose each time


def test_equal_logits_cost_log_n():
    assert MaskedInfoNCELoss()(torch.zeros(5, 5), torch.eye(5)).item() == pytest.approx(math.log(5))


def test_likely_positives_leave_the_denominator():
    relevance = torch.eye(4)
    relevance[0, 1] = 0.75
    expected = (math.log(3) + 3 * math.log(4)) / 4
    assert MaskedInfoNCELoss()(torch.zeros(4, 4), relevance).item() == pytest.approx(expected)


def test_the_diagonal_counts_once_whatever_its_relevance():
    similarity, relevance = _random(6)
    low = relevance.clone().fill_diagonal_(0.1)
    assert torch.equal(MaskedInfoNCELoss()(similarity, relevance), MaskedInfoNCELoss()(similarity, low))


def test_a_contrastive_loss_does_not_change_when_all_logits_rise():
    similarity, relevance = _random(6)
    loss = MaskedInfoNCELoss()
    torch.testing.assert_close(loss(similarity, relevance), loss(similarity + 50, relevance))


def test_large_logits_stay_finite():
    logits = (torch.eye(4) * 500).requires_grad_()
    loss = MaskedInfoNCELoss()(logits, torch.eye(4))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_unknown_pairs_and_studies_leave_the_contrastive_loss():
    similarity, relevance = _random(5)
    smaller = MaskedInfoNCELoss()(similarity[:4, :4], relevance[:4, :4])
    relevance[4, :], relevance[:, 4] = NAN, NAN
    torch.testing.assert_close(MaskedInfoNCELoss()(similarity, relevance), smaller)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_triplet_loss_equals_its_definition(weighted):
    for seed in range(3):
        similarity, relevance = _random(7, seed)
        loss = RankedTripletLoss(weighted=weighted)(similarity, relevance)
        assert loss.item() == pytest.approx(_slow_triplet(similarity, relevance, weighted), rel=1e-5)


def test_one_violated_triplet_costs_what_the_formula_says():
    similarity = torch.zeros(2, 2)
    loss = RankedTripletLoss()(similarity, torch.eye(2))  # each query: j = i, k = the other
    assert loss.item() == pytest.approx(math.log1p(math.exp(0.1 / 0.07)), rel=1e-6)
    satisfied = RankedTripletLoss()(torch.eye(2), torch.eye(2))
    assert satisfied.item() == pytest.approx(math.log(2), rel=1e-6)
    assert RankedTripletLoss(include_self=False)(similarity, torch.eye(2)).item() == 0.0


@pytest.mark.parametrize("weighted", [False, True])
def test_chunks_change_neither_the_triplet_loss_nor_its_gradient(weighted):
    similarity, relevance = _random(24)
    results = []
    for size in (3, 100_000):
        leaf = similarity.clone().requires_grad_()
        loss = RankedTripletLoss(weighted=weighted, chunk_size=size)(leaf, relevance)
        loss.backward()
        results.append((loss.detach(), leaf.grad))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("weighted", [False, True])
def test_unknown_studies_leave_the_triplet_loss(weighted):
    similarity, relevance = _random(7)
    loss = RankedTripletLoss(weighted=weighted)
    smaller = loss(similarity[:6, :6], relevance[:6, :6])
    known = torch.ones(7, 7, dtype=torch.bool)
    known[6, :], known[:, 6] = False, False
    torch.testing.assert_close(loss(similarity, relevance, known), smaller)
    leaf = similarity.clone().requires_grad_()
    unknown = loss(leaf, relevance.masked_fill(~known, NAN))
    torch.testing.assert_close(unknown.detach(), smaller)
    unknown.backward()
    assert leaf.grad.isfinite().all()


def test_a_batch_without_triplets_costs_nothing_and_can_be_trained_on():
    leaf = torch.randn(4, 4).requires_grad_()
    for relevance in (torch.full((4, 4), 0.5), torch.full((4, 4), NAN), torch.ones(4, 4)):
        loss = RankedTripletLoss(weighted=True)(leaf, relevance)
        loss.backward()
        assert loss.item() == 0.0
        assert leaf.grad.abs().sum() == 0


def test_a_batch_of_256_fits():
    similarity, relevance = _random(256)
    leaf = similarity.clone().requires_grad_()
    loss = RankedTripletLoss()(leaf, relevance)
    loss.backward()
    assert loss.isfinite()
    assert leaf.grad.isfinite().all()


def test_the_order_of_the_batch_does_not_matter():
    similarity, relevance = _random(8)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    for loss in (MaskedInfoNCELoss(), RankedTripletLoss(), RankedTripletLoss(weighted=True)):
        shuffled = loss(similarity[order][:, order], relevance[order][:, order])
        torch.testing.assert_close(loss(similarity, relevance), shuffled)


def test_no_loss_changes_its_arguments():
    similarity, relevance = _random(6)
    before = similarity.clone(), relevance.clone()
    MaskedInfoNCELoss()(similarity, relevance)
    RankedTripletLoss()(similarity, relevance, torch.eye(6, dtype=torch.bool))
    assert torch.equal(similarity, before[0])
    assert torch.equal(relevance, before[1])


def test_the_conditional_loss_is_the_mean_over_anatomies():
    _, relevance = _random(6)
    features = F.normalize(torch.randn(6, 2, 8, generator=torch.Generator().manual_seed(1)), dim=-1)
    both = torch.stack((relevance, torch.full((6, 6), NAN)))  # the second anatomy is known nowhere
    similarity = torch.stack([features[:, q] @ features[:, q].T for q in range(2)])
    alone = RankedTripletLoss(weighted=True)(similarity[0], relevance)
    torch.testing.assert_close(ConditionalLoss()(similarity, both), alone / 2)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(N, N\)"):
        MaskedInfoNCELoss()(torch.zeros(3, 3), torch.zeros(3, 4))
    with pytest.raises(ValueError, match="anatomies, images, images"):
        ConditionalLoss()(torch.zeros(2, 3, 3), torch.zeros(3, 3, 3))
    with pytest.raises(ValueError, match="above 0"):
        RankedTripletLoss(temperature=0.0)


@pytest.fixture
def vectors(shared_data):
    folder = shared_data.parent / "reference" / "released-checkpoint" / "vectors"
    if not folder.is_dir():
        pytest.skip(f"the released code's numbers are not at {folder}")
    return folder


def _loss_and_gradient(loss, prediction, target):
    leaf = prediction.clone().requires_grad_()
    value = loss(leaf, target)
    value.backward()
    return value.detach(), leaf.grad


@pytest.mark.parametrize(
    ("case", "loss", "factor"),
    [
        ("infonce_plain", MaskedInfoNCELoss(), 1.0),
        ("infonce_tau", MaskedInfoNCELoss(), 10.0),  # there the loss divides by 0.1
        ("infonce_plain_all_positive", MaskedInfoNCELoss(), 1.0),
        ("triplet_uncond", RankedTripletLoss(), 1.0),
        ("triplet_uncond_none", RankedTripletLoss(), 1.0),
    ],
)
def test_stage_1_terms_and_gradients_equal_those_of_the_released_code(vectors, case, loss, factor):
    numbers = load_file(vectors / "losses.safetensors")
    prediction, target = numbers[f"{case}.pred"], numbers[f"{case}.gt"]
    value, gradient = _loss_and_gradient(lambda p, t: loss(p * factor, t), prediction, target)
    torch.testing.assert_close(value[None], numbers[f"{case}.loss"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient, numbers[f"{case}.grad_pred"], atol=1e-5, rtol=1e-5)


def test_the_released_double_diagonal_is_not_reproduced(vectors):
    numbers = load_file(vectors / "losses.safetensors")
    case = "infonce_plain_diag_below_threshold"
    prediction, target = numbers[f"{case}.pred"], numbers[f"{case}.gt"]
    assert (target.diagonal() < 0.75).any()
    assert MaskedInfoNCELoss()(prediction, target) < numbers[f"{case}.loss"].item() - 1e-3


def test_stage_2_terms_and_gradients_equal_those_of_the_released_code(vectors):
    numbers = load_file(vectors / "losses.safetensors")
    triplet = RankedTripletLoss(weighted=True)
    for anatomy in range(3):
        prediction, target = numbers["triplet_cond.pred"][anatomy], numbers["triplet_cond.gt"][anatomy]
        value, gradient = _loss_and_gradient(triplet, prediction, target)
        torch.testing.assert_close(value, numbers["triplet_cond.loss"][anatomy], atol=1e-5, rtol=1e-5)
        # The released gradient is of the sum over anatomies.
        torch.testing.assert_close(gradient, numbers["triplet_cond.grad_pred"][anatomy], atol=1e-5, rtol=1e-5)


def test_whole_objectives_equal_those_of_the_released_code(vectors):
    expected = json.loads((vectors / "radir_end_to_end_losses.json").read_text())
    inputs = load_file(vectors / "radir_inputs.safetensors")
    features = load_file(vectors / "radir_cxr_uncond.safetensors")
    image, text = features["image_latent"], features["text_latent"]
    scale = features["exp_temperature"][0] / 0.1
    loss = UnconditionalLoss(triplet_scale=0.1)(image, text, scale, inputs["gt_uncond"])
    assert loss.item() == pytest.approx(expected["stage1_infonce_temp_True"]["total"], abs=1e-5)
    fused = load_file(vectors / "radir_cxr_cond.safetensors")["fused_latent"]  # (Q, N, d)
    loss = ConditionalLoss()(fused @ fused.transpose(1, 2), inputs["gt_cond"])
    assert loss.item() == pytest.approx(expected["stage2"]["total"], abs=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["margin", "temperature", "positive_threshold", "gap", "tau"])
def test_settings_that_are_no_numbers_are_refused_by_name(name, value):
    kind = MaskedInfoNCELoss if name == "tau" else RankedTripletLoss
    with pytest.raises(ValueError, match=f"{name} is"):
        kind(**{name: value})
