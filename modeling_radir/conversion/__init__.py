"""Model folders from and to other formats: `released` reads the authors' checkpoint with `released_config`,
`released_keys` and `checkpoint_files`; `onnx` exports.
"""
