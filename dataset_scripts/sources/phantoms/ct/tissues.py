"""Hounsfield units of tissues, before noise, by contrast phase."""

AIR = -1000.0
FAT = -100.0
WATER = 8.0
SOFT = 42.0  # inflamed or solid tissue without much contrast
LUNG = -860.0
CALCIUM = 900.0
METAL = 2800.0

_ORDER = ("native", "venous", "arterial")
_BY_PHASE = {
    "aorta": (42.0, 150.0, 320.0),
    "pulmonary": (42.0, 145.0, 290.0),
    "vein": (42.0, 150.0, 200.0),
    "myocardium": (48.0, 100.0, 110.0),
    "muscle": (52.0, 62.0, 58.0),
    "node": (38.0, 78.0, 60.0),
    "liver": (58.0, 110.0, 76.0),
    "spleen": (48.0, 118.0, 130.0),
    "kidney": (32.0, 170.0, 160.0),
    "thyroid": (95.0, 160.0, 180.0),
    "bowel": (40.0, 80.0, 65.0),
}


def tissues(phase: str) -> dict[str, float]:
    """Tissue -> HU in a phase, for the tissues that take up contrast."""
    place = _ORDER.index(phase)
    return {name: values[place] for name, values in _BY_PHASE.items()}
