import json
import sys
import types
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dataset_scripts.mining.discovery import annotate, discover, read_reports, survey, write_terms
from dataset_scripts.mining.radgraph import entities_of, read_entities

ANATOMY, OBSERVATION = "Anatomy::definitely present", "Observation::definitely present"


def document(text: str, *spans: tuple[str, int, str, list[list[str]]]) -> dict[str, Any]:
    """A document as the radgraph package gives it; spans are words, first token, label, relations."""
    return {
        "text": text,
        "entities": {
            str(number): {
                "tokens": words,
                "label": label,
                "start_ix": start,
                "end_ix": start + len(words.split()) - 1,
                "relations": relations,
            }
            for number, (words, start, label, relations) in enumerate(spans, start=1)
        },
        "data_source": None,
        "data_split": "inference",
    }


EFFUSION = document(
    "Small left pleural effusion .",
    ("Small", 0, OBSERVATION, [["modify", "4"]]),
    ("left", 1, ANATOMY, [["modify", "3"]]),
    ("pleural", 2, ANATOMY, []),
    ("effusion", 3, OBSERVATION, [["located_at", "3"], ["located_at", "2"]]),
)
LIVER = document("Liver is normal .", ("Liver", 0, ANATOMY, []), ("normal", 2, OBSERVATION, []))
NOTHING = document("As above .")


def version_1(item: dict[str, Any]) -> dict[str, Any]:
    """The same document with the labels of RadGraph 1.0."""
    text = json.dumps(item).replace(ANATOMY, "ANAT-DP").replace(OBSERVATION, "OBS-DP")
    return json.loads(text)


def dygie(item: dict[str, Any]) -> dict[str, Any]:
    """The same document as DyGIE++ has it, in two sentences whose spans are numbered through."""
    tokens = item["text"].split()
    entities = item["entities"].values()
    span = {key: [e["start_ix"], e["end_ix"]] for key, e in item["entities"].items()}
    relations = [
        [e["start_ix"], e["end_ix"], *span[to], kind] for e in entities for kind, to in e["relations"]
    ]
    return {
        "dataset": "made-up",
        "doc_key": 7,
        "sentences": [tokens[:1], tokens[1:]],
        "ner": [[], [[e["start_ix"], e["end_ix"], e["label"]] for e in entities]],
        "relations": [[], relations],
    }


FORMS = {
    "package.json": json.dumps({"0": EFFUSION, "1": LIVER, "2": NOTHING}),
    "package-outputs.json": json.dumps([{"0": EFFUSION}, {"0": LIVER}, {"0": NOTHING}]),
    "package.jsonl": "\n".join(json.dumps({"0": item}) for item in (EFFUSION, LIVER, NOTHING)),
    "documents.jsonl": "\n".join(map(json.dumps, (EFFUSION, LIVER, NOTHING))) + "\n",
    "indented.json": json.dumps([EFFUSION, LIVER, NOTHING], indent=2),
    "graphs.json": json.dumps(
        {f"p10/p1/s{number}.txt": version_1(item) for number, item in enumerate((EFFUSION, LIVER, NOTHING))}
    ),
    "test.json": json.dumps(
        {
            f"s{number}.txt": {"text": item["text"], "labeler_1": version_1(item), "labeler_2": LIVER}
            for number, item in enumerate((EFFUSION, LIVER, NOTHING))
        }
    ),
    "dygie.jsonl": "\n".join(json.dumps(dygie(item)) for item in (EFFUSION, LIVER, NOTHING)),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_radgraph_output_gives_the_same_terms(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FORMS[name], encoding="utf-8")
    found = discover([tmp_path / name], progress=False)
    assert {item.term: item.count for item in found.terms} == {"left pleural": 1, "liver": 1}
    assert (found.documents, found.without_entities, found.mentions) == (3, 1, 2)


@pytest.mark.parametrize(
    ("spans", "terms"),
    [
        pytest.param(
            [
                ("Left", 0, ANATOMY, [["modify", "2"]]),
                ("lower", 1, ANATOMY, [["modify", "3"]]),
                ("lobe", 2, ANATOMY, []),
            ],
            ["left lower lobe"],
            id="chain",
        ),
        pytest.param(
            [
                ("left", 0, ANATOMY, [["modify", "4"]]),
                ("upper", 1, ANATOMY, [["modify", "4"]]),
                ("lower", 3, ANATOMY, [["modify", "4"]]),
                ("lobes", 4, ANATOMY, []),
            ],
            ["left upper lobes", "lower lobes"],
            id="coordination",
        ),
        pytest.param(
            [
                ("bilateral", 0, ANATOMY, [["modify", "2"], ["modify", "3"]]),
                ("lungs", 1, ANATOMY, []),
                ("pleura", 5, ANATOMY, []),
            ],
            ["bilateral lungs", "bilateral pleura", "pleura"],
            id="shared modifier",
        ),
        pytest.param(
            [("T-spine", 0, ANATOMY, [["modify", "2"]]), ("body", 1, ANATOMY, [["modify", "1"]])],
            ["t spine body"],
            id="modify each other",
        ),
        pytest.param(
            [
                ("2 cm above", 0, "Anatomy::measurement::definitely present", [["modify", "2"]]),
                ("carina", 4, ANATOMY, []),
                ("tube", 6, OBSERVATION, [["modify", "2"]]),
            ],
            ["carina"],
            id="measurements and observations are none",
        ),
        pytest.param([("right", 0, ANATOMY, [["modify", "9"]])], ["right"], id="lone side"),
    ],
)
def test_modifiers_join_their_structure(spans: list[Any], terms: list[str]) -> None:
    found = survey([document("made up", *spans)]).terms
    assert sorted(item.term for item in found for _ in range(item.count)) == terms


def test_a_term_is_covered_by_the_anatomy_that_mining_links_it_to() -> None:
    found = survey([EFFUSION, EFFUSION, LIVER, document("toe .", ("Great toe", 0, ANATOMY, []))])
    rows = {item.term: item for item in found.terms}
    assert list(rows) == ["left pleural", "great toe", "liver"]  # by count, then by name
    assert rows["left pleural"].anatomy == "left pleura"
    assert rows["great toe"].anatomy is None
    assert rows["left pleural"].share_of_all == 0.5


def test_both_sides_of_one_whole_are_the_whole() -> None:
    found = survey([document("lungs", ("lungs", 0, ANATOMY, []))])
    assert found.terms[0].anatomy == "lungs"


def test_rare_terms_count_in_the_shares_but_are_not_listed() -> None:
    toe = document("toe .", ("toe", 0, ANATOMY, []))
    found = survey([LIVER, LIVER, LIVER, toe], min_count=2)
    assert [item.term for item in found.terms] == ["liver"]
    assert (found.rare_terms, found.mentions, found.covered_share) == (1, 4, 0.75)


def test_the_csv_accumulates_shares(tmp_path: Path) -> None:
    found = survey([LIVER, LIVER, LIVER, document("toe .", ("toe", 0, ANATOMY, []))])
    write_terms(found.terms, tmp_path / "terms.csv")
    table = pd.read_csv(tmp_path / "terms.csv")
    assert list(table) == ["term", "count", "share", "cumulative_share", "anatomy"]
    assert table["cumulative_share"].tolist() == [0.75, 1.0]
    assert table["anatomy"].isna().tolist() == [False, True]
    with pytest.raises(ValueError, match="is a folder"):
        write_terms(found.terms, tmp_path)


def test_folders_are_searched_and_empty_ones_refused(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.json", "sub/b.jsonl"):
        (tmp_path / name).write_text(json.dumps({"0": LIVER}), encoding="utf-8")
    assert discover([tmp_path], progress=False).terms[0].count == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no RadGraph output"):
        discover([tmp_path / "empty"], progress=False)
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        discover([tmp_path / "absent.json"], progress=False)
    with pytest.raises(ValueError, match="no RadGraph output is given"):
        discover([], progress=False)


@pytest.mark.parametrize(
    "text",
    [
        '{"0": ',
        '{"0" 1}',
        '{"0": "text"}',
        "[1, 2]",
        "plain text",
        '{"0": {"entities": []}}',
        '{"0": {"entities": {"1": {"tokens": "lung", "start_ix": 0, "end_ix": 0, "relations": []}}}}',
        '{"0": {"entities": {"1": {"tokens": "lung", "label": "ANAT-DP", "start_ix": "x", "end_ix": 0}}}}',
        '{"sentences": [["lung"]]}',
        "\xff",
    ],
)
def test_malformed_output_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"bad\.json"):
        discover([path], progress=False)


def test_documents_are_decoded_one_by_one(tmp_path: Path) -> None:
    """The broken end of a file is not yet read when its first document comes."""
    path = tmp_path / "long.json"
    path.write_text(json.dumps({"a": LIVER})[:-1] + ', "b": broken', encoding="utf-8")
    assert next(read_entities(path)) == entities_of(LIVER)


def test_annotation_without_the_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "radgraph", None)
    with pytest.raises(ValueError, match=r"radir\[radgraph\]"):
        annotate(["Liver is normal."])


def test_annotation_keeps_the_order_and_blank_reports(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class RadGraph:
        def __init__(self, model_type: str) -> None:
            sys.stdout.write("Using device: cpu")
            assert model_type == "radgraph-xl"

        def __call__(self, texts: list[str]) -> dict[str, Any]:
            assert all(texts)
            return {str(number): document(text) for number, text in enumerate(texts)}

    package = types.ModuleType("radgraph")
    package.RadGraph = RadGraph  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "radgraph", package)
    texts = [f"report {number}" if number % 3 else " " for number in range(70)]
    assert [item["text"] for item in annotate(texts, progress=False)] == texts
    assert capsys.readouterr().out == ""  # it would spoil --json


def test_reports_come_from_a_column_or_from_lines(tmp_path: Path) -> None:
    (tmp_path / "sectioned.csv").write_text('study,findings\ns1,"Liver, normal."\ns2,\n', encoding="utf-8")
    assert read_reports(tmp_path / "sectioned.csv") == ["Liver, normal.", ""]
    (tmp_path / "reports.txt").write_text("One.\nTwo.\n", encoding="utf-8")
    assert read_reports(tmp_path / "reports.txt") == ["One.", "Two."]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="it has a, b"):
        read_reports(tmp_path / "other.csv")
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="holds no report"):
        read_reports(tmp_path / "empty.txt")
