"""Entities by rules and a lexicon: `lexicon`, `parser`, `negation`, `ngrams`, and `extractor`, which uses
them.
"""
