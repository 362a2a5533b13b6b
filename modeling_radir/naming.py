"""What to say when a name is not known."""

import difflib
from collections.abc import Iterable


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is not among the known ones, with the nearest of them.

    Args:
        kind: what is named, in the singular: "anatomy".
        name: what was asked for.
        known: the names that would have been understood.

    Example:
        >>> print(unknown_name("anatomy", "left plura", ["left pleura", "heart"]))
        unknown anatomy 'left plura'; the nearest known: 'left pleura'
    """
    names = {str(each).lower(): str(each) for each in known}
    if not names:
        return ValueError(f"unknown {kind} {name!r}: no {kind} is known here")
    near = difflib.get_close_matches(str(name).lower(), names, n=3, cutoff=0.5)
    if near:
        return ValueError(
            f"unknown {kind} {name!r}; the nearest known: " + ", ".join(repr(names[n]) for n in near)
        )
    first = ", ".join(repr(each) for each in list(names.values())[:5])
    return ValueError(
        f"unknown {kind} {name!r}: none of the {len(names)} known is like it (they begin {first})"
    )
