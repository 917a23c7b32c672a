"""What a notebook's cells end in: tables and figures, kept as files and shown with a caption, and sentences.

Every text is written by hand, with places for numbers: "right in {share} of the pairs". A notebook calls `begin` once,
which binds what its figures, tables and sentences have in common.
"""

import ast
import base64
import html
import inspect
import io
import re
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython import get_ipython
from IPython.display import HTML, Markdown, display
from PIL import Image

from helpers import plots
from helpers.experiments import PUBLISHED, Setting
from helpers.inputs import ROOT, InputError, known_keys, writable_folder
from helpers.store import write_whole

BY_HAND = ROOT / "report" / "by-hand"  # where a notebook writes that is given no folder


@dataclass(frozen=True)
class Page:
    """One notebook's output: where it goes, and what is said of where it comes from."""

    folder: Path  # gets tables/ and figures/
    plan: str
    source: str  # name of the digits
    seed: int
    origin: str = ""  # said below every figure and table

    def under(self, conditions: str) -> "Page":
        """The page with other conditions said below its figures and tables, e.g. "5 rounds, 25 epochs"."""
        return replace(self, origin=f"{self.source}; plan: {self.plan}; seed {self.seed}; {conditions}.")

    def from_files(self, origin: str) -> "Page":
        """The page for what comes from files: `origin` says which, or of what plan."""
        return replace(self, origin=origin)

    def save(self, table: pd.DataFrame, name: str) -> None:
        """Write tables/NAME.csv, with the data source and the plan as its last columns."""
        content = table.assign(source=self.source, plan=self.plan).to_csv(index=False)
        write_whole(writable_folder("output", self.folder / "tables") / f"{name}.csv", content.encode())

    def load(self, name: str) -> pd.DataFrame:
        """Read a table that a notebook wrote into the same folder, or, for a notebook run by hand, the published one.

        Raises InputError where there is none.
        """
        places = [self.folder / "tables", *([PUBLISHED] if self.plan == "by hand" else [])]
        for path in (place / f"{name}.csv" for place in places):
            if path.is_file():
                return pd.read_csv(path)
        looked = " nor in ".join(map(str, places))
        raise InputError(f"output: the table {name} is not in {looked}; run the notebook that writes it first.")

    def figure(self, figure: plt.Figure, name: str, caption: str, alt: str, /, **values) -> None:
        """Keep a figure as figures/NAME.png (200 dpi) and .svg, and show it above its caption.

        `caption` says what is shown, `alt` the same to those who cannot see it; both have places for `values`.
        """
        folder = writable_folder("output", self.folder / "figures")
        picture, drawing = io.BytesIO(), io.BytesIO()
        figure.savefig(picture, format="png", dpi=200, metadata={"Software": None})
        image = _with_few_colours(picture)
        figure.savefig(drawing, format="svg", metadata={"Date": None})
        write_whole(folder / f"{name}.png", image)
        write_whole(folder / f"{name}.svg", drawing.getvalue())
        plt.close(figure)
        width = min(1, figure.get_figwidth() / plots.WIDTH)
        source = f"data:image/png;base64,{base64.b64encode(image).decode()}"
        shown = f'<img src="{source}" alt="{html.escape(filled(alt, values))}" style="width: {width:.0%}">'
        words = self._caption(caption, values)
        display(HTML(f'<figure id="{name}"><div class="scroll">{shown}</div>{words}</figure>'))

    def table(self, table: pd.DataFrame, caption: str, /, classes: str = "", **values) -> None:
        """Show a table, its numbers formatted by the caller, below its caption."""
        body = table.rename_axis([None] * table.index.nlevels).to_html(border=0, escape=False, classes=classes)
        words = self._caption(caption, values)
        display(HTML(f'<figure class="table">{words}<div class="scroll">{body}</div></figure>'))

    def _caption(self, caption: str, values: dict) -> str:
        words = re.sub(r"`([^`]+)`", r"<code>\1</code>", filled(caption, values))
        return f"<figcaption>{words} <small>{html.escape(self.origin)}</small></figcaption>"

    def finding(self, text: str, /, holds: bool = True, otherwise: str = "", **values) -> None:
        """Show a paragraph of Markdown: `text` where the numbers bear it out, else `otherwise`."""
        display(Markdown(filled(text if holds else otherwise, values)))


def begin(setting: Setting, plan: str, output: str, conditions: str) -> Page:
    """The page of this notebook. Refuses parameters that it does not have and folders that cannot be written to."""
    _refuse_unknown_parameters()
    folder = writable_folder("output", output or BY_HAND)
    for part in ("tables", "figures"):
        writable_folder("output", folder / part)
    plots.set_theme()
    return Page(folder, str(plan), setting.digits.name, setting.seed).under(conditions)


def filled(text: str, values: dict) -> str:
    """A text written by hand over several lines, with its numbers put in: an accuracy as {share}, {count:,}, …"""
    return inspect.cleandoc(text).format(**values)


def provenance(*tables: pd.DataFrame) -> str:
    """Data source and plan of tables that `load` read, and a warning where they are several."""
    rows = pd.concat([table[["source", "plan"]] for table in tables]).drop_duplicates()
    text = "; ".join(f"{row.source}; plan: {row.plan}" for row in rows.itertuples())
    return text if len(rows) == 1 else f"{text} (tables of several plans, not to be compared)"


def _refuse_unknown_parameters() -> None:
    """Papermill only warns of a misspelt name; its cell of given parameters is the second of the kernel's history."""
    shell = get_ipython()
    history = shell.user_ns.get("In", []) if shell else []
    if len(history) > 2 and history[2].startswith("# Parameters"):
        declared, given = (
            [
                target.id
                for node in ast.parse(cell).body
                for target in getattr(node, "targets", [getattr(node, "target", 0)])
            ]
            for cell in history[1:3]
        )
        known_keys("parameters", dict.fromkeys(given), declared)


def _with_few_colours(picture: io.BytesIO) -> bytes:
    """The PNG in 128 colours, at a third of the size: the report is to be sent by mail."""
    small = io.BytesIO()
    image = Image.open(picture).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    image.save(small, "png", optimize=True, dpi=(200, 200))
    return small.getvalue()
