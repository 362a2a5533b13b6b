"""A WordPiece tokenizer made from a corpus, for text towers that start from random weights."""

from collections import Counter
from collections.abc import Iterable

from transformers import BertTokenizer


def learn_tokenizer(texts: Iterable[str], vocab_size: int, max_tokens: int) -> BertTokenizer:
    """A BERT tokenizer whose pieces are the corpus's most frequent words, and single characters.

    Radiology reports draw on few words, so whole words cover nearly all of a report; what is left is
    spelt in characters, never unknown. Unlike the trainers of the tokenizers library, which break
    ties differently from run to run, equal texts give equal vocabularies.

    Args:
        texts: the training reports.
        vocab_size: number of pieces at most, special tokens and characters included.
        max_tokens: longer texts are truncated to this many tokens.

    Raises:
        ValueError: if `vocab_size` cannot even hold the special tokens and the characters.

    Example:
        >>> learn_tokenizer(["clear lungs", "lungs clear"], 40, 16).tokenize("Clear lung")
        ['clear', 'l', '##u', '##n', '##g']
    """
    blank = BertTokenizer()
    backend = blank.backend_tokenizer
    words: Counter[str] = Counter()
    for text in texts:
        normalized = backend.normalizer.normalize_str(text)
        words.update(word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normalized))
    characters = sorted({character for word in words for character in word})
    pieces = [*blank.get_vocab(), *characters, *(f"##{character}" for character in characters)]
    pieces[: len(blank)] = sorted(blank.get_vocab(), key=blank.get_vocab().__getitem__)
    if vocab_size < len(pieces):
        raise ValueError(
            f"vocab_size is {vocab_size}, but the corpus needs {len(pieces)} pieces "
            "for special tokens and characters"
        )
    by_frequency = sorted(words, key=lambda word: (-words[word], word))
    known = set(pieces)
    pieces += [word for word in by_frequency if word not in known][: vocab_size - len(pieces)]
    return BertTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, model_max_length=max_tokens
    )
