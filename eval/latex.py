r"""The tables as LaTeX, to be taken into a paper: `\input{tables}`; needs booktabs and longtable."""

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from eval.cells import Cell, Table
from eval.tables import AVERAGE, all_tables

_PACKAGES = ("booktabs", "longtable")
_ROWS_OF_A_PAGE = 45  # longer tables may break over pages
_COLUMNS_OF_A_PAGE = 9  # wider tables are set small

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "¹": r"\textsuperscript{1}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def latex_tables(results: Mapping[str, Any]) -> str:
    """tables.tex: all tables of tables.md, without a preamble.

    Args:
        results: the content of results.json.
    """
    needed = " ".join(f"\\usepackage{{{name}}}" for name in _PACKAGES)
    about = f"% {results['dataset']}, {results['split']}: written by `radir evaluate`. Needs {needed}"
    return (
        "\n\n".join([about.replace("\n", " "), *(latex_table(table) for table in all_tables(results))]) + "\n"
    )


def latex_table(table: Table) -> str:
    """One table: a float, or a longtable where it does not fit on a page."""
    columns = "l" * table.text_columns + "r" * (len(table.heads) - table.text_columns)
    title = re.sub(r" \(Table \d\)", "", table.title)  # the paper's number, which beside LaTeX's own misleads
    caption = f"\\caption{{{escaped(title)}}}\\label{{tab:{_slug(title)}}}"
    small = ["\\scriptsize\\setlength{\\tabcolsep}{3pt}"] if len(columns) > _COLUMNS_OF_A_PAGE else []
    heads = ["\\toprule", *_heads(table), "\\midrule"]
    body = [*_body(table), "\\bottomrule"]
    note = [f"\\par\\smallskip{{\\footnotesize {escaped(table.note)}\\par}}"] if table.note else []
    if len(table.rows) > _ROWS_OF_A_PAGE:
        start = ["{", *small, f"\\begin{{longtable}}{{{columns}}}", f"{caption}\\\\"]
        return "\n".join([*start, *heads, "\\endhead", *body, "\\end{longtable}", *note, "}"])
    start = ["\\begin{table}", "\\centering", caption, *small, f"\\begin{{tabular}}{{{columns}}}"]
    return "\n".join([*start, *heads, *body, "\\end{tabular}", *note, "\\end{table}"])


def escaped(text: str) -> str:
    """Plain text as LaTeX shows it; runs of white space as one blank."""
    return "".join(_ESCAPES.get(sign, sign) for sign in re.sub(r"\s+", " ", text))


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _heads(table: Table) -> Iterator[str]:
    """The names of the columns; groups stand above theirs, with a rule between."""
    if not any(title for title, _ in table.groups):
        yield _row(table.heads)
        return
    cells, rules, column = [], [], 1
    for title, members in groupby(table.groups, key=lambda group: group[0]):
        width = len(list(members))
        if title:
            cells.append(f"\\multicolumn{{{width}}}{{c}}{{{escaped(title)}}}")
            rules.append(f"\\cmidrule(lr){{{column}-{column + width - 1}}}")
        else:
            cells += [""] * width
        column += width
    yield " & ".join(cells) + " \\\\"
    yield " ".join(rules)
    yield _row([name for _, name in table.groups])


def _row(texts: list[str] | tuple[str, ...]) -> str:
    return " & ".join(map(escaped, texts)) + " \\\\"


def _body(table: Table) -> Iterator[str]:
    averaged = False
    for row in table.rows:
        if row[0].text == AVERAGE and not averaged:
            averaged = True
            yield "\\midrule"
        yield " & ".join(map(_cell, row)) + " \\\\"


def _cell(cell: Cell) -> str:
    text = escaped(cell.text)
    # At the start of a row they would be read as belonging to the end of the row above.
    text = f"{{{text}}}" if text.startswith(("[", "*")) else text
    return f"\\textbf{{{text}}}" if cell.best else text
