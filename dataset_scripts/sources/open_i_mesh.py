"""Open-i's MeSH terms as labels: what people indexed each report with, beside its gold labels.

The column `MeSH` of indiana_reports.csv holds terms with their qualifiers: "Opacity/lung/base;Cardiomegaly".
A label is a term without qualifiers. A report that was indexed and lacks the term has the value 0; one that
was not indexed has no labels.
"""

from collections import Counter
from collections.abc import Mapping

from dataset_scripts.sources.tables import is_blank

MESH = "MeSH: "  # starts the labels' names
LEAST = 10  # reports with a term that is a label
NOT_INDEXED = "No Indexing"
NO_FINDINGS = ("normal", "Technical Quality of Image Unsatisfactory")
PLACES = {
    "Airspace Disease": "lungs",
    "Aorta": "aorta",
    "Aorta, Thoracic": "thoracic aorta",
    "Atherosclerosis": "aorta",
    "Calcified Granuloma": "lungs",
    "Cardiac Shadow": "heart",
    "Cardiomegaly": "heart",
    "Cicatrix": "lungs",
    "Consolidation": "lungs",
    "Costophrenic Angle": "costophrenic angle",
    "Diaphragm": "diaphragm",
    "Diaphragmatic Eventration": "diaphragm",
    "Emphysema": "lungs",
    "Hernia, Hiatal": "stomach",
    "Infiltrate": "lungs",
    "Lung": "lungs",
    "Lung Diseases, Interstitial": "lungs",
    "Lung, Hyperlucent": "lungs",
    "Markings": "lungs",
    "Mediastinum": "mediastinum",
    "Nodule": "lungs",
    "Opacity": "lungs",
    "Osteophyte": "spine",
    "Pleural Effusion": "pleura",
    "Pneumonia": "lungs",
    "Pneumothorax": "pleura",
    "Pulmonary Atelectasis": "lungs",
    "Pulmonary Disease, Chronic Obstructive": "lungs",
    "Pulmonary Edema": "lungs",
    "Pulmonary Emphysema": "lungs",
    "Pulmonary Fibrosis": "lungs",
    "Scoliosis": "spine",
    "Spine": "spine",
    "Spondylosis": "spine",
    "Thoracic Vertebrae": "thoracic spine",
}  # where a term shows, if it shows in one place
ANATOMIES = {f"{MESH}{term}": anatomy for term, anatomy in PLACES.items()}


def mesh_labels(cells: Mapping[str, str]) -> dict[str, tuple[tuple[str, int], ...]]:
    """The labels of each report.

    Args:
        cells: uid -> what the column says of its report.

    Returns:
        uid -> ("MeSH: TERM", 1 or 0) of each term that LEAST reports have; none for reports that were not
        indexed.
    """
    terms = {uid: _terms(cell) for uid, cell in cells.items() if not is_blank(cell)}
    terms = {uid: of for uid, of in terms.items() if of != {NOT_INDEXED}}
    counts = Counter(term for of in terms.values() for term in of)
    kept = sorted(term for term, count in counts.items() if count >= LEAST and term not in NO_FINDINGS)
    return {uid: tuple((f"{MESH}{term}", int(term in of)) for term in kept) for uid, of in terms.items()}


def _terms(cell: str) -> set[str]:
    heads = {term.split("/")[0].strip() for term in cell.split(";")}
    return heads - {""}
