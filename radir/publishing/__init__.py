"""To the Hub: `hub` makes one commit, `push_dataset` and `push_model` say of what; `model_info`,
`model_results` and `model_card` write a model's README.
"""
