"""Report reading: from a report to what it says of each anatomy, in the order of the data.

`plain_text` and `sections` cut a report, `sentences` a section, `tokens` and `abbreviations` a sentence.
`ontology` names the anatomies and `vocabulary` the findings; `mentions` finds both, `laterality` tells
their sides, `triggers` and `status` what is present and what denied, `changes` what is new or gone;
`clauses` and `qualify` put together what belongs together, and `reader` gives the statements of a text.
`findings` gathers the sentences of each anatomy, and `corpus` does so for many reports. `radgraph` and
`discovery` look for anatomies that the ontology lacks.
"""
