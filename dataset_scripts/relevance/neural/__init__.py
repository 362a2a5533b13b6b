"""Entities by RaTEScore's models: `hub_models`, `sentences`, `spans`, `extractor`, and `shards` for large
corpora.
"""
