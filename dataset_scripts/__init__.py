"""Report mining, relevance and the dataset builders; importing it makes `load_dataset` know their names."""

from dataset_scripts.hf_builders import register

register()
