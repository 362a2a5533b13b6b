"""A dataset's entities on disk: `files` and `keys` are the format, `build` writes it, `store` reads it."""
