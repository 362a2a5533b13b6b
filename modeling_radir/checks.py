"""What several configurations check of their values."""


def check_positive(name: str, value: object) -> None:
    """Raise ValueError unless the value is a whole number above 0.

    Args:
        name: how the user wrote the setting: "vision_config.patch_size".
        value: what was given.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is {value!r}; a whole number above 0 is needed")
