"""`radir adapt`: any image encoder made conditional in closed form.

`encoders` finds the tower, `token_cache` keeps its tokens, `basis` shortens them, `ridge` fits the heads,
`text_side` fits the reports, and `adapt` does all.
"""
