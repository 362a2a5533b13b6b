"""Two processes give one process's gradients."""

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from modeling_radir import RankedTripletLoss, UnconditionalLoss, gather_with_gradient


def _batch():
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, 6, 4, generator=generator)
    return images, texts, torch.rand(6, 6, generator=generator).fill_diagonal_(1.0)


def _model():
    torch.manual_seed(1)
    return torch.nn.ModuleDict({"image": torch.nn.Linear(4, 3), "text": torch.nn.Linear(4, 3)})


def _loss(model, images, texts, relevance):
    image = torch.nn.functional.normalize(model["image"](images), dim=-1)
    text = torch.nn.functional.normalize(model["text"](texts), dim=-1)
    return UnconditionalLoss()(gather_with_gradient(image), gather_with_gradient(text), 10.0, relevance)


def _work(rank, path):
    dist.init_process_group("gloo", init_method=f"file://{path}/rendezvous", rank=rank, world_size=2)
    images, texts, relevance = _batch()
    mine = slice(rank * 3, rank * 3 + 3)
    model = _model()
    _loss(model, images[mine], texts[mine], relevance).backward()
    for parameter in model.parameters():  # as DistributedDataParallel does
        dist.all_reduce(parameter.grad)
        parameter.grad /= 2
    if rank == 1:
        torch.save([parameter.grad for parameter in model.parameters()], f"{path}/gradients.pt")
    dist.destroy_process_group()


def test_two_processes_give_the_gradients_of_one(tmp_path):
    mp.spawn(_work, args=(str(tmp_path),), nprocs=2)
    model = _model()
    _loss(model, *_batch()).backward()
    for parameter, gradient in zip(model.parameters(), torch.load(tmp_path / "gradients.pt"), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)
        assert gradient.abs().sum() > 0


def test_a_single_process_keeps_its_tensor():
    tensor = torch.zeros(2, 3)
    assert gather_with_gradient(tensor) is tensor
    assert RankedTripletLoss()(tensor.new_zeros(2, 2), torch.ones(2, 2)).item() == 0.0
