"""Relevance between many texts at once: `similarities` of entities, `kernel` for the loops, `pair_scores` to
cut the work to the memory, `threads` to share it, and `engine`, which people use.
"""
