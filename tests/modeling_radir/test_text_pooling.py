import pytest
import torch

from modeling_radir import RadIRConfig
from modeling_radir.modeling_text import mean_of_words


def test_the_mean_leaves_special_tokens_and_padding_out() -> None:
    states = torch.tensor([[[9.0], [1.0], [3.0], [9.0]], [[9.0], [5.0], [9.0], [7.0]]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    assert mean_of_words(states, mask).tolist() == [[2.0], [5.0]]


def test_without_a_mask_all_tokens_count() -> None:
    assert mean_of_words(torch.tensor([[[9.0], [1.0], [3.0], [9.0]]])).tolist() == [[2.0]]


def test_a_text_without_words_is_finite() -> None:
    assert mean_of_words(torch.ones(1, 2, 3)).tolist() == [[0.0, 0.0, 0.0]]


def test_another_pooling_is_refused() -> None:
    with pytest.raises(ValueError, match="'cls' or 'mean'"):
        RadIRConfig(text_pooling="max")
