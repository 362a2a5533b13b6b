"""From findings to relevance (paper, eq. 3), in the order of the data.

`entities` says what an entity is and what extracts one; `lexical/` does it by rules, `neural/` by RaTEScore's
models. `ratescore` is the paper's formula, `content` the one by content, each once, written to be read;
`store/` keeps the entities of a dataset, `formulas` gives the two formulas over a store by name, and
`engine/` computes T and T_Q between any of its texts. `text_scores` compares two lists of texts; `explain`
says why two texts compare as they do.
"""
