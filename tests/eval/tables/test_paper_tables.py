"""The tables of results.json: averages, wins, ahead only where clear; LaTeX well-formed and escaped."""

import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from radir_eval.benchmark import Protocol, evaluate_models
from radir_eval.rankers.vectors import OracleRanker, ParquetEmbeddings, RandomRanker
from radir_eval.tables.comparison_tables import differences_table, wins_table
from radir_eval.tables.latex import escaped, latex_table, latex_tables
from radir_eval.tables.paper_tables import TASK_TITLES, all_tables
from radir_eval.tables.table import Cell, Table, percent


@pytest.fixture(scope="module")
def run(helpers: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    out = tmp_path_factory.mktemp("tables")
    dataset = helpers.FakeDataset()
    radir = helpers.write_vectors(out / "radir.parquet", dataset, *dataset.knowing_vectors(0.1))
    clip = helpers.write_vectors(out / "clip_16.parquet", dataset, dataset.knowing_vectors(0.3, 1)[0], {})
    sources = [ParquetEmbeddings(radir), ParquetEmbeddings(clip), RandomRanker(0), OracleRanker()]
    protocol = Protocol(bootstrap_draws=50, randomisations=99, min_queries=10)
    results = evaluate_models(dataset, "test", sources, protocol, out, progress=False)
    tables = {table.title: table for table in all_tables(results)}
    return SimpleNamespace(results=results, tables=tables, out=out)


def test_a_table_ends_with_both_averages_and_their_counts(run: SimpleNamespace) -> None:
    block = run.results["models"]["radir"]
    titles = [title for title in run.tables if title.startswith("Conditional image retrieval by")]
    assert len(titles) == 3
    for title in titles:
        table = run.tables[title]
        metric, short = ("ndcg", "NDCG") if title.endswith("NDCG") else ("recall", "R")
        column = table.heads.index(f"{short}@5 radir")
        for row, key in zip(table.rows[-2:], ("conditional_macro", "conditional_weighted"), strict=True):
            assert row[column].text == percent(block[key][metric]["5"])
            assert row[table.heads.index("#Queries")].text == f"{block[key]['n_queries']:,}"
            assert row[table.heads.index("#Train")].text == f"{block[key]['n_train_studies']:,}"
        assert [row[0].text for row in table.rows[-2:]] == ["Average", "Average by query"]
        assert all(len(row) == len(table.heads) == len(table.groups) for row in table.rows)


def test_wins_are_shown_for_competitors_only(run: SimpleNamespace) -> None:
    table = run.tables["Metrics won"]
    assert table.heads == ("Metrics", "Number", "radir", "clip_16")
    wins = {(row["scope"], row["metric"]): row for row in run.results["wins"]}
    anatomies = wins["anatomies", "recall"]
    (shown,) = [row for row in table.rows if row[0].text == "Anatomies, Recall"]
    assert shown[2].text == f"{anatomies['best']['radir']} ({anatomies['ahead']['radir']})"
    assert anatomies["ahead"]["radir"] > anatomies["ahead"]["clip_16"]
    assert wins_table({**run.results, "wins": []}) is None


def test_ahead_is_shown_only_where_the_interval_says_so(run: SimpleNamespace) -> None:
    table = differences_table(run.results, TASK_TITLES)
    shown = [[cell.text for cell in row] for row in table.rows]
    rows = [
        row
        for row in run.results["comparisons"]
        if (row["a"], row["b"]) == ("radir", "clip_16") and row["metric"].startswith("recall")
    ]
    assert [cells[3] for cells in shown] == [row["better"] or "neither" for row in rows]
    assert {cells[2] for cells in shown} == {"radir minus clip_16"}
    unclear = [{**row, "better": None, "p_holm": 0.0004, "effect_size": None} for row in rows]
    cells = differences_table({**run.results, "comparisons": unclear}, TASK_TITLES).rows[0]
    assert [cells[column].text for column in (3, 5, 6)] == ["neither", "<0.001", "-"]


class Latex:
    """A reader of the little LaTeX that tables need; anything else, or anything unbalanced, fails."""

    COMMANDS = re.compile(
        "begin|end|caption|label|centering|multicolumn|cmidrule|toprule|midrule|bottomrule|par|smallskip"
        "|rotatebox|footnotesize|setlength|tabcolsep|text(bf|superscript|backslash|asciitilde|asciicircum|less|greater|bar)"
    )

    SHRUNK = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{"

    def __init__(self, text: str) -> None:
        text = re.sub(r"(?m)(?<!\\)%.*$", "", text)
        assert text.count(self.SHRUNK) == text.count(r"\begin{table}") == text.count(r"\end{tabular}}")
        text = text.replace(self.SHRUNK, "{")
        bare = re.sub(r"\\\\|\\[&%$#_{}]", " ", text)
        assert not re.search(r"[%$#_~^<>|]", re.sub(r"\\label\{[^}]*\}", "", bare).replace("&", ""))
        assert all(self.COMMANDS.fullmatch(name) for name in re.findall(r"\\([A-Za-z]+)", bare))
        assert not re.search(r"\\[^A-Za-z]", bare)
        depth = 0
        for sign in re.findall(r"[{}]", bare):
            depth += 1 if sign == "{" else -1
            assert depth >= 0
        assert depth == 0
        opened: list[str] = []
        for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
            if kind == "begin":
                opened.append(name)
            else:
                assert opened.pop() == name
        assert not opened
        self.tables = [
            self._rows(columns, body)
            for columns, body in re.findall(r"(?s)\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text)
        ]

    def _rows(self, columns: str, body: str) -> list[list[str]]:
        """The cells of each row, which must fill the columns."""
        lines = re.split(r"\\\\", re.sub(r"\\(top|mid|bottom)rule|\\cmidrule\(lr\)\{[\d-]+\}", "", body))
        assert not lines.pop().strip()
        rows = []
        for line in (line.strip() for line in lines):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)&", line)]
            spans = [re.match(r"\\multicolumn\{(\d+)\}", cell) for cell in cells]
            assert sum(int(span[1]) if span else 1 for span in spans) == len(columns), line
            assert not line.startswith(("[", "*"))
            rows.append(cells)
        return rows


def test_the_latex_is_well_formed_and_holds_every_row(run: SimpleNamespace) -> None:
    text = (run.out / "tables.tex").read_text(encoding="utf-8")
    assert text == latex_tables(run.results)
    read = Latex(text).tables
    assert len(read) == len(run.tables)
    for rows, table in zip(read, run.tables.values(), strict=True):
        assert len(rows) == len(table.rows) + (2 if table.groups else 1)
        assert rows[-1][0] == escaped(table.rows[-1][0].text)
        for found, row in zip(rows[-len(table.rows) :], table.rows, strict=True):
            assert [cell.startswith(r"\textbf{") for cell in found] == [cell.best for cell in row]
    assert r"clip\_16" in text
    assert r"\caption{Image to image}\label{tab:image-to-image}" in text
    assert "\\textsuperscript{1}" in text
    assert text.count(r"\midrule" + "\nAverage &") >= 3


def test_every_special_sign_is_escaped() -> None:
    hostile = "50% & more_of #1 {a} $b$ ~x^2 \\end <p> | [c]\n*d"
    rows = ((Cell(hostile), Cell("1.00", True)), (Cell("[0.1]"), Cell("*")))
    table = Table("A & B_1", ("100%", "#n"), rows, "A note: 5 < 6_7")
    (read,) = Latex(latex_table(table)).tables
    assert len(read) == 3
    assert read[1][1] == r"\textbf{1.00}"
    assert escaped("a\\_b") == r"a\textbackslash{}\_b"


def test_groups_stand_above_their_columns() -> None:
    groups = (("", "Name"), ("Recall@3", "a"), ("Recall@3", "b"), ("Recall@5", "a"))
    table = Table("T", ("Name", "R@3 a", "R@3 b", "R@5 a"), ((Cell("x"), *[Cell("1")] * 3),), groups=groups)
    text = latex_table(table)
    (read,) = Latex(text).tables
    assert read[0] == ["", r"\multicolumn{2}{c}{Recall@3}", r"\multicolumn{1}{c}{Recall@5}"]
    assert read[1] == ["Name", "a", "b", "a"]
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-4}" in text


def test_long_names_of_models_stand_upright() -> None:
    groups = (("", "A long head"), ("Recall@3", "radir-cxr"), ("Recall@3", "b"))
    table = Table("T", ("A long head", "1", "2"), ((Cell("x"), *[Cell("1")] * 2),), groups=groups)
    (read,) = Latex(latex_table(table)).tables
    assert read[1] == ["A long head", r"\rotatebox{90}{radir-cxr}", r"\rotatebox{90}{b}"]


def test_a_table_longer_than_a_page_goes_on_in_the_next() -> None:
    rows = tuple((Cell(f"a{row}"), Cell("1")) for row in range(100))
    text = latex_table(Table("A title", ("Name", "n"), rows, "A note"))
    read = Latex(text).tables
    assert [row[0] for table in read for row in table[1:]] == [row[0].text for row in rows]
    assert [len(table) - 1 for table in read] == [45, 45, 10]
    assert r"\caption{A title (1 of 3)}\label{tab:a-title}" in text
    assert r"\caption{A title (3 of 3)}\label{tab:a-title-3}" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_pdflatex_sets_all_tables_within_the_text(run: SimpleNamespace, tmp_path: Path) -> None:
    packages = re.findall(r"\\usepackage\{\w+\}", (run.out / "tables.tex").read_text(encoding="utf-8"))
    start = [r"\documentclass{article}", *packages, r"\begin{document}"]
    paper = "\n".join([*start, rf"\input{{{run.out / 'tables.tex'}}}", r"\end{document}"])
    (tmp_path / "paper.tex").write_text(paper, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout and "too large" not in done.stdout


def test_tables_of_one_model_have_no_comparison(run: SimpleNamespace, helpers: Any, tmp_path: Any) -> None:
    dataset = helpers.FakeDataset(n_studies=30)
    protocol = Protocol(bootstrap_draws=20, randomisations=9)
    results = evaluate_models(dataset, "test", [RandomRanker()], protocol, tmp_path, progress=False)
    titles = {table.title for table in all_tables(results)}
    assert not titles & {"Metrics won", "Paired differences"}
    assert Latex(latex_tables(results)).tables
