"""What ranks candidates: `vectors` has the interface, the references and vectors from files; `encoder` and
`vector_cache` encode what is not there yet; `radir_model` and `radir_heat_maps` are a RadIR model.
"""
