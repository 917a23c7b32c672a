"""What a notebook's cells end in: tables and figures, kept as files and shown with a caption, and sentences.

Every text is written by hand, with places for numbers: "right in {share} of the pairs". A notebook calls `begin` once,
which says where all of its numbers come from.
"""

import base64
import html
import inspect
import io
import re
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython import get_ipython
from IPython.display import HTML, Markdown, display
from matplotlib.figure import Figure
from PIL import Image

from helpers import plots
from helpers.experiments import PUBLISHED, Setting
from helpers.inputs import ROOT, InputError, known_keys, unwritable, writable_folder, write_whole

NOT_HERE = "*(Not confirmed by this run.)*"
LEFT_OPEN = "*(Too few rounds to say.)*"
BY_HAND = ROOT / "report" / "by-hand"  # where a notebook writes that is given no folder


@dataclass(frozen=True)
class Page:
    """One notebook's output and where it goes."""

    folder: Path  # gets tables/ and figures/
    plan: str
    source: str  # name of the digits
    chapter: str = ""  # that registered hypotheses name
    seed: int = 0

    def save(self, table: pd.DataFrame, name: str) -> None:
        """Write tables/NAME.csv, with the data source and the plan as its last columns."""
        content = table.assign(source=self.source, plan=self.plan).to_csv(index=False)
        self._write(f"tables/{name}.csv", content.encode())

    def _write(self, name: str, content: bytes) -> None:
        try:
            write_whole(self.folder / name, content)
        except OSError as error:
            raise unwritable("output", self.folder, error) from None

    def load(self, name: str) -> pd.DataFrame:
        """Read a table that a notebook wrote into the same folder, or, for a notebook run by hand, the published one.

        Raises InputError where there is none.
        """
        for path in (place / f"{name}.csv" for place in self._places()):
            if path.is_file():
                return pd.read_csv(path)
        looked = " nor in ".join(map(str, self._places()))
        raise InputError(f"output: the table {name} is not in {looked}; run the notebook that writes it first.")

    def names(self, pattern: str) -> list[str]:
        """The tables that `load` gives whose names have this pattern, e.g. "registered_*"."""
        return sorted({path.stem for place in self._places() for path in place.glob(f"{pattern}.csv")})

    def _places(self) -> list[Path]:
        return [self.folder / "tables", *([PUBLISHED] if self.plan == "by hand" else [])]

    def registered(self, values: dict[str, pd.Series]) -> None:
        """Write tables/registered_CHAPTER.csv: by the id of a registered hypothesis its value in every round."""
        if not values:
            return
        table = pd.concat(values, names=["id", "round"]).rename("value").reset_index().assign(seed=self.seed)
        self.save(table, f"registered_{self.chapter}")

    def say(self, text: str, holds: bool | None = True) -> None:
        """Show a paragraph of Markdown, marked where it does not hold in this run, or (None) is left open by it."""
        if text:
            mark = {True: "", False: NOT_HERE, None: LEFT_OPEN}[holds]
            display(Markdown(f"{tidied(text)} {mark}".strip()))

    def figure(self, figure: Figure, name: str, caption: str, alt: str, /, data=None, **values) -> None:
        """Keep a figure as figures/NAME.png (200 dpi) and .svg, and show it above its caption.

        `caption` says what is shown, `alt` the same to those who cannot see it; both have places for `values`.
        `data` is the table that the figure draws, for those who want its numbers.
        """
        drawing, picture, sources = io.BytesIO(), _png(figure), ""
        figure.savefig(drawing, format="svg", metadata={"Date": None})
        self._write(f"figures/{name}.png", picture)
        self._write(f"figures/{name}.svg", drawing.getvalue())
        width = min(1, figure.get_figwidth() / plots.WIDTH)
        if figure.get_figwidth() <= plots.COLUMN:  # drawn once more, for a phone
            figure.set_figwidth(plots.PHONE)
            sources = f'<source media="(max-width: 40rem)" srcset="{_address(_png(figure), "image/png")}">'
        plt.close(figure)
        shown = f'<img src="{_address(picture, "image/png")}" alt="{html.escape(filled(alt, values))}"'
        shown = f'<picture>{sources}{shown} style="width: {width:.0%}"></picture>'
        words = _caption(filled(caption, _escaped(values)), name, data)
        display(HTML(f'<figure id="{name}" class="picture"><div class="scroll">{shown}</div>{words}</figure>'))

    def table(self, table: pd.DataFrame, name: str, caption: str, /, classes: str = "", **values) -> None:
        """Show a table, its numbers formatted by the caller, below its caption."""
        shown = table.rename(index=lambda label: html.escape(label) if isinstance(label, str) else label)
        body = shown.rename_axis([None] * table.index.nlevels).to_html(border=0, escape=False, classes=classes)
        words = _caption(filled(caption, _escaped(values)), name, table)
        display(HTML(f'<figure id="{name}" class="table">{words}<div class="scroll">{body}</div></figure>'))


def begin(setting: Setting, plan: str, output: str, conditions: str, chapter: str = "") -> Page:
    """The page of this notebook, having shown what its numbers come from, e.g. `conditions` "5 rounds, 25 epochs".

    Refuses parameters that the notebook does not have and folders that cannot be written to.
    """
    # Papermill only warns of a misspelt name; its cell of given parameters is the second of the kernel's history.
    shell = get_ipython()
    history = shell.user_ns.get("In", []) if shell else []
    if len(history) > 2 and history[2].startswith("# Parameters"):
        declared, given = (re.findall(r"^(\w+)\s*[:=]", cell, re.M) for cell in history[1:3])
        ours = [name for name in given if not name.startswith("PAPERMILL_")]  # of papermill --inject-paths
        known_keys("parameters", dict.fromkeys(ours), declared)
    folder = writable_folder("output", output or BY_HAND)
    for part in ("tables", "figures"):
        writable_folder("output", folder / part)
    plots.set_theme()
    origin = filled(
        "{digits}; plan: {plan}; seed {seed}; {conditions}.",
        {"digits": setting.digits.name, "plan": plan, "seed": setting.seed, "conditions": conditions},
    )
    display(HTML(f'<p class="origin">{html.escape(origin)}</p>'))
    return Page(folder, str(plan), setting.digits.name, chapter, setting.seed)


def filled(text: str, values: dict) -> str:
    """A text written by hand over several lines, with its numbers put in: an accuracy as {share}, {count:,}, …"""
    return tidied(text.format(**values))


def tidied(text: str) -> str:
    """A text written over several lines, with "1 rounds" mended."""
    text = inspect.cleandoc(text)
    return re.sub(r"\b1 (round|epoch|start|run|split)s\b", r"1 \1", text)


def _escaped(values: dict) -> dict:
    """Names as they are written, whatever markup is in them."""
    return {name: html.escape(value) if isinstance(value, str) else value for name, value in values.items()}


def _caption(text: str, name: str, data: pd.DataFrame | None) -> str:
    """A caption's `code` and [links](#name) as HTML, and the data to be had as a file."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\[([^]]*)\]\((#[^)]+)\)", r'<a href="\2">\1</a>', text)
    if data is not None:
        named = data.index.names != [None] or data.index.dtype != "int64"  # else the rows are only counted
        content = data.to_csv(index=named).encode("utf-8-sig")  # by its mark Excel knows it
        text += f' <a download="{name}.csv" href="{_address(content, "text/csv")}">data (CSV)</a>'
    return f"<figcaption>{text}</figcaption>"


def _png(figure: Figure) -> bytes:
    """A figure in 128 colors, at a third of the size: the report is to be sent by mail."""
    picture, small = io.BytesIO(), io.BytesIO()
    figure.savefig(picture, format="png", dpi=200, metadata={"Software": None})
    image = Image.open(picture).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    image.save(small, "png", optimize=True, dpi=(200, 200))
    return small.getvalue()


def _address(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
