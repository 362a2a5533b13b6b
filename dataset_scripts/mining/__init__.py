"""From a report to the findings of each anatomy, in the order of the data.

`sections` cuts a report, `sentences` a section, `tokens` a sentence; `ontology` names the anatomies,
`mentions` finds them, `laterality` tells their sides; `findings` puts the sentences of each anatomy together,
and `corpus` does all of it for many reports. `radgraph` and `discovery` look for anatomies that the ontology
lacks.
"""
