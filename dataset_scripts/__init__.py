"""Report mining, relevance and the dataset builders; importing it makes `load_dataset` know their names.

In the order of the data: `mining/` reads reports, `relevance/` compares findings, `sources/` bring corpora,
`building/` makes datasets of them, `hf_builders/` offers them to `load_dataset`; `plumbing/` serves all.
"""

from dataset_scripts.hf_builders import register

register()
