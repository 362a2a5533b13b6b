"""How a command ends: every error is one sentence on stderr and an exit code, never a traceback unasked.

0: done. 1: a fault of RadIR. 2: bad input, or a file, a disk or a library that is not as it must be.
130: Ctrl-C. 141: nobody reads the output any more. Other codes above 128: the signal that stopped a training.
"""

import os
import re
import sys
import traceback
from importlib import metadata
from typing import Any

from tqdm import tqdm
from typer.core import TyperGroup

TRACEBACK = "RADIR_TRACEBACK"  # in the environment, and not empty: show where an error comes from

# Whose own errors come from what a file holds.
_READERS = frozenset(
    "PIL csv gzip huggingface_hub json lzma nibabel pyarrow pydicom safetensors safetensors_rust struct "  # noqa: SIM905
    "tokenizers yaml zipfile zlib".split()
)


# Libraries that are imported under another name than they are installed by.
_IMPORTED = {"pillow": "pil", "open_clip_torch": "open_clip"}


class Ended(SystemExit):
    """The end of the process, with its code; the sentence is written."""


class Commands(TyperGroup):
    """The commands; what stops one of them ends with a sentence before typer has its own way with it."""

    def invoke(self, ctx: Any) -> Any:  # the context's class is the private one of typer's own click
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # here, so that a closed pipe is noticed while it can be said
            return result
        except (KeyboardInterrupt, BrokenPipeError) as stopped:
            raise Ended(end(stopped)) from stopped


def end(error: BaseException) -> int:
    """Write the sentence that ends a command to stderr; returns the exit code."""
    if isinstance(error, BrokenPipeError):  # `radir ... | head`: whoever read has what he wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    for bar in list(getattr(tqdm, "_instances", ())):  # so that the sentence has a line of its own
        bar.close()
    text, code = _sentence(error)
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error, file=sys.stderr)
    sys.stderr.write(f"radir: {text}\n")
    return code


def _sentence(error: BaseException) -> tuple[str, int]:
    """What to say, on one line where the error does, and the exit code."""
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    where = f"{TRACEBACK}=1 before the same command shows where"
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "stopped by Ctrl-C; the same command may be given again", _code_of(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"there is not enough memory for this ({what})", 2
    if isinstance(error, ModuleNotFoundError) and (extra := _extra_of(error.name)):
        return f"this needs {error.name}, which is not installed: pip install 'radir[{extra}]'", 2
    if type(error) is ValueError or isinstance(error, (OSError, ImportError)):
        return str(error), 2
    if isinstance(error, (UnicodeDecodeError, RecursionError)) or _module(error) in _READERS:
        return f"a file cannot be read, most likely for what it holds ({what}); {where}", 2
    if isinstance(error, ValueError):
        return f"something given is not as expected ({what}); {where}", 2
    return f"this should not have happened, and is likely a fault of RadIR ({what}); {where}", 1


def _extra_of(module: str | None) -> str | None:
    """The extra of this package that brings a library; None where none does."""
    library = (module or "").partition(".")[0].lower()
    for line in metadata.requires("radir") or ():
        found = re.fullmatch(r"([\w.-]+).*extra == ['\"](\w+)['\"]", line)
        if found and _IMPORTED.get(found[1].lower(), found[1].lower()) == library and found[2] != "dev":
            return found[2]
    return None


def _code_of(stopped: KeyboardInterrupt) -> int:
    """130, or that of the signal that a training was stopped by."""
    return int(getattr(stopped, "code", 130))


def _module(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]
