"""Made-up picture files of kinds that Pillow does not write."""

import struct
import zlib
from pathlib import Path

import numpy as np


def write_tiff(path: Path, stored: np.ndarray, white_is_zero: bool = False, order: str = "<") -> Path:
    """Write an uncompressed grey TIFF.

    Args:
        path: the file.
        stored: (H, W) of 8, 16 or 32 bits, whole numbers or floats, as they are stored.
        white_is_zero: the photometric interpretation.
        order: "<" or ">", the byte order.
    """
    sample_format = {"u": 1, "i": 2, "f": 3}[stored.dtype.kind]
    pixels = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    height, width = stored.shape
    fields = [
        *((256, width), (257, height), (258, stored.itemsize * 8), (259, 1), (262, int(not white_is_zero))),
        *((273, 0), (277, 1), (278, height), (279, len(pixels)), (339, sample_format)),
    ]
    start = 8 + 2 + 12 * len(fields) + 4  # of the pixels
    directory = b"".join(
        struct.pack(f"{order}HHII", tag, 4, 1, start if tag == 273 else value) for tag, value in fields
    )
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(f"{order}I", 8) + struct.pack(f"{order}H", len(fields))
    path.write_bytes(head + directory + struct.pack(f"{order}I", 0) + pixels)
    return path


def write_png(path: Path, width: int, height: int, bits: int, colour: int, rows: bytes = b"") -> Path:
    """Write a PNG whose header may promise what it likes.

    Args:
        path: the file.
        width: as the header says.
        height: as the header says.
        bits: for each channel.
        colour: 0 grey, 2 RGB, 4 grey with alpha, 6 RGB with alpha.
        rows: the pixels, each row after a byte 0.
    """

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks))
    return path
