"""What ranks candidates: `vectors` has the interface, the references and vectors from files; `encoder`
encodes what is not in a `vector_store`; `radir_model` and `radir_heat_maps` are a RadIR model. `terms`
says what is owed to their data.
"""
