"""What a phantom can show: every anatomy with its findings, their degrees and how often they occur."""

from dataset_scripts.sources.phantoms.state import NORMAL, AnatomySpec, FindingSpec, both_sides

__all__ = ["ANATOMIES", "NORMAL", "AnatomySpec", "FindingSpec"]

_UPPER_LOBE = (
    FindingSpec("nodule", ("small", "large")),
    FindingSpec("mass"),
    FindingSpec("consolidation", ("patchy", "dense"), 1.3),
    FindingSpec("scarring", ("mild", "marked")),
    FindingSpec("cavity"),
    FindingSpec("granuloma", weight=0.7),
)
_LOWER_LOBE = (
    FindingSpec("consolidation", ("patchy", "dense"), 1.4),
    FindingSpec("atelectasis", ("mild", "marked"), 1.2),
    FindingSpec("nodule", ("small", "large")),
    FindingSpec("interstitial", ("mild", "marked"), 1.2),
)
_PLEURA = (
    FindingSpec("effusion", ("small", "moderate", "large"), 2.2),
    FindingSpec("pneumothorax", ("small", "large"), 1.4),
    FindingSpec("thickening", ("mild", "marked"), 0.9),
    FindingSpec("plaque", weight=0.8),
)
_HILUM = (
    FindingSpec("enlarged", ("mild", "marked"), 1.3),
    FindingSpec("mass"),
    FindingSpec("calcified nodes"),
    FindingSpec("clips", weight=0.7),
)
_HEMIDIAPHRAGM = (
    FindingSpec("elevated", ("mild", "marked"), 1.5),
    FindingSpec("flattened"),
    FindingSpec("eventration"),
    FindingSpec("free air", weight=0.9),
)

_SPECS = (
    *both_sides("upper lobe", "upper lobe", _UPPER_LOBE),
    *both_sides("lower lobe", "lower lobe", _LOWER_LOBE),
    *both_sides("pleura", "pleura", _PLEURA),
    AnatomySpec(
        "heart",
        "heart",
        (
            FindingSpec("cardiomegaly", ("borderline", "mild", "moderate", "severe"), 4.0),
            FindingSpec("pericardial effusion"),
        ),
        normal_chance=0.42,
    ),
    AnatomySpec(
        "mediastinum",
        "mediastinum",
        (
            FindingSpec("widened", ("mild", "marked"), 1.4),
            FindingSpec("lymphadenopathy"),
            FindingSpec("mass"),
            FindingSpec("calcified nodes", weight=0.7),
        ),
    ),
    AnatomySpec(
        "trachea",
        "trachea",
        (FindingSpec("deviated right", ("mild", "marked")), FindingSpec("deviated left", ("mild", "marked"))),
    ),
    *both_sides("hilum", "hilum", _HILUM),
    AnatomySpec(
        "aorta",
        "aorta",
        (
            FindingSpec("tortuous", ("mild", "marked"), 1.3),
            FindingSpec("calcified", weight=1.2),
            FindingSpec("aneurysm"),
        ),
        normal_chance=0.45,
    ),
    AnatomySpec(
        "ribs",
        "ribs",
        (
            FindingSpec("right fracture", ("single", "multiple")),
            FindingSpec("left fracture", ("single", "multiple")),
            FindingSpec("sclerotic lesions", weight=0.7),
        ),
    ),
    AnatomySpec(
        "clavicles",
        "clavicles",
        (
            FindingSpec("right fracture"),
            FindingSpec("left fracture"),
            FindingSpec("right plate", weight=0.8),
            FindingSpec("left plate", weight=0.8),
        ),
    ),
    *both_sides("hemidiaphragm", "hemidiaphragm", _HEMIDIAPHRAGM),
    AnatomySpec(
        "spine",
        "spine",
        (
            FindingSpec("degenerative", ("mild", "marked"), 1.3),
            FindingSpec("dextroscoliosis", ("mild", "marked"), 0.8),
            FindingSpec("levoscoliosis", ("mild", "marked"), 0.8),
            FindingSpec("compression", weight=0.9),
            FindingSpec("hardware", weight=0.7),
        ),
        normal_chance=0.45,
    ),
    AnatomySpec(
        "lines and tubes",
        "lines and tubes",
        (
            FindingSpec("endotracheal tube"),
            FindingSpec("right central line"),
            FindingSpec("left central line"),
            FindingSpec("pacemaker"),
            FindingSpec("nasogastric tube"),
            FindingSpec("port", weight=0.8),
        ),
    ),
    AnatomySpec(
        "stomach",
        "stomach",
        (
            FindingSpec("distended", ("mild", "marked"), 1.3),
            FindingSpec("absent"),
            FindingSpec("hiatal hernia", ("small", "large"), 1.3),
        ),
    ),
)

ANATOMIES: dict[str, AnatomySpec] = {spec.name: spec for spec in _SPECS}
"""Anatomy name -> its specification, in the order in which states are drawn."""
