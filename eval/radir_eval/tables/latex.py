r"""The tables as LaTeX, to be taken into a paper: `\input{tables}`; needs booktabs and graphicx."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any

from radir_eval.tables.paper_tables import AVERAGE, all_tables
from radir_eval.tables.table import Cell, Table

_PACKAGES = ("booktabs", "graphicx")
_ROWS_OF_A_PAGE = 45  # longer tables continue in the next
_LONG_NAME = 8  # signs; models of longer names stand upright above their columns

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
        "\n\n".join([" ".join(about.split()), *(latex_table(table) for table in all_tables(results))]) + "\n"
    )


def latex_table(table: Table) -> str:
    """One table as a float, or several where it has more rows than a page; shrunk where it is too wide."""
    title = re.sub(r" \(Table \d\)", "", table.title)  # the paper's number, which beside LaTeX's own misleads
    parts = [table.rows[at : at + _ROWS_OF_A_PAGE] for at in range(0, len(table.rows), _ROWS_OF_A_PAGE)]
    floats = []
    for number, rows in enumerate(parts, start=1):
        shown = title if len(parts) == 1 else f"{title} ({number} of {len(parts)})"
        label = _slug(title) if number == 1 else f"{_slug(title)}-{number}"
        floats.append(_float(replace(table, title=shown, rows=rows), label))
    return "\n\n".join(floats)


def _float(table: Table, label: str) -> str:
    columns = "l" * table.text_columns + "r" * (len(table.heads) - table.text_columns)
    lines = [
        "\\begin{table}",
        "\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}",
        f"\\caption{{{escaped(table.title)}}}\\label{{tab:{label}}}",
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
        f"\\begin{{tabular}}{{{columns}}}",
        *("\\toprule", *_heads(table), "\\midrule", *_body(table), "\\bottomrule"),
        "\\end{tabular}}",
        *([f"\\par\\smallskip{{{escaped(table.note)}\\par}}"] if table.note else []),
        "\\end{table}",
    ]
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Plain text as LaTeX shows it; runs of white space as one blank."""
    return "".join(_ESCAPES.get(sign, sign) for sign in re.sub(r"\s+", " ", text))


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _heads(table: Table) -> Iterator[str]:
    """The names of the columns; groups stand above theirs, with a rule between."""
    if not any(title for title, _ in table.groups):
        yield _row([escaped(head) for head in table.heads])
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
    yield _row(cells)
    yield " ".join(rules)
    upright = any(title and len(name) > _LONG_NAME for title, name in table.groups)
    names = [
        f"\\rotatebox{{90}}{{{escaped(name)}}}" if title and upright else escaped(name)
        for title, name in table.groups
    ]
    yield _row(names)


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + " \\\\"


def _body(table: Table) -> Iterator[str]:
    averaged = False
    for row in table.rows:
        if row[0].text == AVERAGE and not averaged:
            averaged = True
            yield "\\midrule"
        yield _row(map(_cell, row))


def _cell(cell: Cell) -> str:
    text = escaped(cell.text)
    # At the start of a row they would be read as belonging to the end of the row above.
    text = f"{{{text}}}" if text.startswith(("[", "*")) else text
    return f"\\textbf{{{text}}}" if cell.best else text
