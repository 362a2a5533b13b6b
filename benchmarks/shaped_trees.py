"""Open data in the layouts of MIMIC-CXR-JPG and CT-RATE, so that the credentialed builders can be timed."""

import gzip
import shutil
import textwrap
import zipfile
from pathlib import Path

import pandas as pd

from dataset_scripts.sources.phantoms.ct import make_study
from tests.made_up.ctrate import MadeUpVolume, ctrate_tree
from tests.made_up.mimic import made_up_id

_SPLITS = ("train", "train", "train", "validate", "test")


def mimic_shaped(open_i: Path, root: Path) -> Path:
    """All of Open-i as MIMIC-CXR-JPG: every second study's patient has two, reports in the zip."""
    reports = pd.read_csv(open_i / "indiana_reports.csv", dtype=str, keep_default_na=False)
    images = pd.read_csv(open_i / "indiana_projections.csv", dtype=str).groupby("uid")
    splits, metadata = [], []
    root.mkdir(parents=True)
    with zipfile.ZipFile(root / "mimic-cxr-reports.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number, report in enumerate(reports.itertuples()):
            subject, study = str(10000032 + number // 2 * 4999), str(50000014 + number * 1009)
            folder = f"files/p{subject[:2]}/p{subject}/s{study}"
            archive.writestr(f"{folder}.txt", mimic_report(report.findings, report.impression))
            if report.uid not in images.groups:
                continue
            (root / folder).mkdir(parents=True)
            for name, view in images.get_group(report.uid)[["filename", "projection"]].to_numpy():
                dicom_id = made_up_id(name)
                shutil.copyfile(open_i / "images" / name, root / folder / f"{dicom_id}.jpg")
                splits.append((dicom_id, study, subject, _SPLITS[number // 2 % len(_SPLITS)]))
                metadata.append((dicom_id, "PA" if view == "Frontal" else "LATERAL", ""))
    for name, rows, columns in (
        ("split", splits, ["dicom_id", "study_id", "subject_id", "split"]),
        ("metadata", metadata, ["dicom_id", "ViewPosition", "ViewCodeSequence_CodeMeaning"]),
    ):
        with gzip.open(root / f"mimic-cxr-2.0.0-{name}.csv.gz", "wt", encoding="utf-8") as file:
            pd.DataFrame(rows, columns=columns).to_csv(file, index=False)
    return root


def mimic_report(findings: str, impression: str) -> str:
    """A report in MIMIC's typography: title, headings, leading blanks, 79 characters a line, ___."""
    lines = ["FINAL REPORT".rjust(45), " EXAMINATION:  CHEST (PA AND LAT)", " "]
    for heading, text in (("FINDINGS", findings), ("IMPRESSION", impression)):
        if text:
            wrapped = textwrap.wrap(text.replace("XXXX", "___"), 78)
            lines += [f" {heading}:", " ", *(f" {line}" for line in wrapped), " "]
    return "\n".join(lines)


def ctrate_shaped(reports: Path, root: Path, scans: int = 241) -> Path:
    """Open CT reports as CT-RATE: a phantom volume each, two reconstructions, in both trees."""
    texts = pd.read_csv(reports)["findings"].to_list()[:scans]
    volumes = []
    for number, text in enumerate(texts):
        split = "valid" if number % 5 == 0 else "train"
        study = make_study(number, 0, (32, 48, 48))
        spacing = tuple(round(size, 3) for size in study.spacing_mm)
        volumes += [
            MadeUpVolume(f"{split}_{number + 1}_a_{take}", study.volume, spacing, findings=text)
            for take in (1, 2)
        ]
    return ctrate_tree(root, volumes)
