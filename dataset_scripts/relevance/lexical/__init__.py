"""Entities by rules and a vocabulary: `extractor`, with `ngrams` for their embeddings."""
