"""What a CT phantom can show: every anatomy with its findings, their degrees, sizes and how often they occur.

Names are those of the ontology, with the side in front where reports say the side ("right axilla").
"""

from dataset_scripts.sources.phantoms.state import AnatomySpec, Catalog, FindingSpec, both_sides

_MILD = ("mild", "marked")
_NODULE = FindingSpec("nodule", ("small", "medium", "large"), 2.2, ((4, 6), (7, 10), (11, 22)))
_LOBE = (
    _NODULE,
    FindingSpec("mass", sizes_mm=((32, 58),), weight=0.7),
    FindingSpec("consolidation", ("patchy", "dense"), 1.3),
    FindingSpec("ground-glass", _MILD, 1.4),
    FindingSpec("granuloma", weight=0.7, sizes_mm=((4, 9),)),
)
_UPPER_LOBE = (
    *_LOBE,
    FindingSpec("emphysema", ("mild", "moderate", "severe"), 1.6),
    FindingSpec("cavity", weight=0.5, sizes_mm=((22, 45),)),
    FindingSpec("scarring", _MILD, 0.9),
)
_MIDDLE_LOBE = (*_LOBE, FindingSpec("atelectasis", _MILD, 1.5), FindingSpec("bronchiectasis", _MILD, 0.8))
_LOWER_LOBE = (
    *_LOBE,
    FindingSpec("atelectasis", _MILD, 1.8),
    FindingSpec("fibrosis", _MILD, 1.2),
    FindingSpec("bronchiectasis", _MILD, 0.8),
)
_PLEURA = (
    FindingSpec("effusion", ("small", "moderate", "large"), 2.4, ((10, 20), (25, 45), (55, 85))),
    FindingSpec("pneumothorax", ("small", "large"), 0.7),
    FindingSpec("thickening", _MILD),
    FindingSpec("plaque", weight=0.7),
)
_KIDNEY = (FindingSpec("cyst", ("small", "large"), 2.0, ((10, 20), (25, 55))), FindingSpec("stone"))
_ADRENAL = (FindingSpec("adenoma", sizes_mm=((12, 32),), weight=1.3), FindingSpec("thickening"))
_HEMIDIAPHRAGM = (FindingSpec("elevated", _MILD, 1.3), FindingSpec("fat hernia"))
_BREAST = (FindingSpec("mass", sizes_mm=((12, 34),), weight=1.3), FindingSpec("calcification"))


def _nodes(name: str, weight: float = 1.0) -> FindingSpec:
    return FindingSpec(name, _MILD, weight, ((11, 15), (17, 28)))


_THORAX = (
    AnatomySpec("right upper lobe", "lobe", _UPPER_LOBE, "right", 0.77),
    AnatomySpec("right middle lobe", "lobe", _MIDDLE_LOBE, "right", 0.82),
    AnatomySpec("right lower lobe", "lobe", _LOWER_LOBE, "right", 0.77),
    AnatomySpec("left upper lobe", "lobe", _UPPER_LOBE, "left", 0.77),
    AnatomySpec("left lower lobe", "lobe", _LOWER_LOBE, "left", 0.77),
    *both_sides("pleura", "pleura", _PLEURA, 0.84),
    *both_sides("hemidiaphragm", "hemidiaphragm", _HEMIDIAPHRAGM, 0.94),
    AnatomySpec(
        "trachea",
        "trachea",
        (
            FindingSpec("deviated right", _MILD),
            FindingSpec("deviated left", _MILD),
            FindingSpec("secretion"),
            FindingSpec("narrowed"),
        ),
        normal_chance=0.91,
    ),
    AnatomySpec(
        "bronchi",
        "bronchi",
        (
            FindingSpec("wall thickening", _MILD, 2.0),
            FindingSpec("right plug"),
            FindingSpec("left plug"),
        ),
        normal_chance=0.85,
    ),
    AnatomySpec(
        "heart",
        "heart",
        (
            FindingSpec("cardiomegaly", ("mild", "moderate", "severe"), 3.0),
            FindingSpec("left atrium", weight=0.8),
            FindingSpec("aortic valve"),
            FindingSpec("mitral annulus", weight=0.8),
        ),
        normal_chance=0.78,
    ),
    AnatomySpec(
        "pericardium",
        "pericardium",
        (
            FindingSpec("effusion", ("small", "moderate", "large"), 2.5, ((6, 9), (11, 17), (20, 28))),
            FindingSpec("calcification", weight=0.7),
        ),
        normal_chance=0.9,
    ),
    AnatomySpec(
        "coronary artery",
        "coronary artery",
        (FindingSpec("calcification", ("mild", "moderate", "severe"), 4.0), FindingSpec("stent")),
        normal_chance=0.72,
    ),
    AnatomySpec(
        "aorta",
        "aorta",
        (
            FindingSpec("calcification", _MILD, 2.0),
            FindingSpec("ascending dilation", _MILD, 1.2, ((42, 46), (50, 60))),
            FindingSpec("descending aneurysm", weight=0.7, sizes_mm=((42, 60),)),
        ),
        normal_chance=0.76,
    ),
    AnatomySpec(
        "pulmonary artery",
        "pulmonary artery",
        (FindingSpec("dilation", _MILD, 3.0, ((32, 35), (38, 46))), FindingSpec("wall calcification")),
        normal_chance=0.88,
    ),
    AnatomySpec(
        "mediastinum",
        "mediastinum",
        (
            _nodes("paratracheal nodes", 1.3),
            _nodes("subcarinal nodes", 1.2),
            _nodes("prevascular nodes"),
            FindingSpec("calcified nodes", weight=0.8),
            FindingSpec("anterior mass", weight=0.6, sizes_mm=((30, 60),)),
            FindingSpec("pneumomediastinum", weight=0.5),
        ),
        normal_chance=0.77,
    ),
    *both_sides("hilum", "hilum", (_nodes("nodes", 1.5), FindingSpec("calcified nodes")), 0.9),
    AnatomySpec(
        "esophagus",
        "esophagus",
        (
            FindingSpec("wall thickening", _MILD, 1.2),
            FindingSpec("dilated", _MILD),
        ),
        normal_chance=0.9,
    ),
)
_REST = (
    *both_sides("axilla", "axilla", (_nodes("nodes", 1.5), FindingSpec("clips", weight=0.6)), 0.93),
    AnatomySpec(
        "thyroid",
        "thyroid",
        (
            FindingSpec("right nodule", ("small", "large"), sizes_mm=((8, 14), (16, 30))),
            FindingSpec("left nodule", ("small", "large"), sizes_mm=((8, 14), (16, 30))),
            FindingSpec("goitre", _MILD),
        ),
        normal_chance=0.83,
    ),
    AnatomySpec(
        "spine",
        "spine",
        (
            FindingSpec("degenerative", _MILD, 3.0),
            FindingSpec("compression", _MILD, 1.2),
            FindingSpec("sclerotic lesion", weight=0.8, sizes_mm=((9, 18),)),
            FindingSpec("lytic lesion", weight=0.8, sizes_mm=((12, 22),)),
            FindingSpec("hardware", weight=0.6),
        ),
        normal_chance=0.68,
    ),
    AnatomySpec(
        "ribs",
        "ribs",
        (
            FindingSpec("right fracture", ("single", "multiple")),
            FindingSpec("left fracture", ("single", "multiple")),
            FindingSpec("right sclerotic lesion", weight=0.7),
            FindingSpec("left sclerotic lesion", weight=0.7),
        ),
        normal_chance=0.87,
    ),
    AnatomySpec(
        "liver",
        "liver",
        (
            FindingSpec("steatosis", _MILD, 1.6),
            FindingSpec("cyst", ("small", "large"), 1.4, ((10, 20), (25, 60))),
            FindingSpec("metastases", ("few", "many"), 0.8),
            FindingSpec("calcification", weight=0.6),
        ),
        normal_chance=0.78,
    ),
    AnatomySpec(
        "spleen",
        "spleen",
        (
            FindingSpec("splenomegaly", _MILD, 1.5, ((135, 145), (155, 175))),
            FindingSpec("cyst", weight=0.8, sizes_mm=((15, 35),)),
            FindingSpec("calcification", weight=0.8),
            FindingSpec("absent", weight=0.6),
        ),
        normal_chance=0.9,
    ),
    *both_sides("kidney", "kidney", _KIDNEY, 0.88),
    *both_sides("adrenal gland", "adrenal gland", _ADRENAL, 0.93),
    AnatomySpec(
        "gallbladder",
        "gallbladder",
        (FindingSpec("stones", weight=1.6), FindingSpec("distended"), FindingSpec("absent")),
        normal_chance=0.86,
    ),
    AnatomySpec(
        "stomach",
        "stomach",
        (FindingSpec("hiatal hernia", ("small", "large"), 2.2), FindingSpec("distended", _MILD)),
        normal_chance=0.86,
    ),
    AnatomySpec(
        "peritoneum",
        "peritoneum",
        (FindingSpec("ascites", _MILD, 1.5), FindingSpec("free air")),
        normal_chance=0.95,
    ),
    *both_sides("breast", "breast", _BREAST, 0.95),
    AnatomySpec(
        "subcutaneous tissue",
        "subcutaneous tissue",
        (FindingSpec("right emphysema"), FindingSpec("left emphysema"), FindingSpec("edema", weight=1.2)),
        normal_chance=0.94,
    ),
    AnatomySpec(
        "support devices",
        "support devices",
        (
            FindingSpec("right port", weight=1.4),
            FindingSpec("left port", weight=0.7),
            FindingSpec("pacemaker", weight=1.2),
            FindingSpec("sternal wires", weight=1.2),
            FindingSpec("tracheostomy"),
            FindingSpec("endotracheal tube"),
            FindingSpec("nasogastric tube"),
            FindingSpec("right chest tube", weight=0.6),
            FindingSpec("left chest tube", weight=0.6),
        ),
        normal_chance=0.78,
    ),
)

ANATOMIES: Catalog = {spec.name: spec for spec in (*_THORAX, *_REST)}
"""Anatomy name -> its specification, in the order in which states are drawn."""
