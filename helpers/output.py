"""What a notebook's cells end in: tables and figures kept as files and shown with a caption, and sentences."""

import base64
import html
import io

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import HTML, Markdown, display
from PIL import Image

from helpers import plots
from helpers.experiments import Setting
from helpers.inputs import ROOT, InputError, writable_folder
from helpers.store import write_whole


def check_writable(setting: Setting) -> None:
    """Refuse folders that cannot be written to before anything is computed."""
    for part in ("data/results", "figures"):
        writable_folder("output", ROOT / setting.output / part)


def save(table: pd.DataFrame, name: str, setting: Setting) -> None:
    """Write data/results/NAME.csv, with the data source and the plan as its last columns."""
    folder = writable_folder("output", ROOT / setting.output / "data" / "results")
    content = table.assign(source=setting.digits.name, plan=setting.plan).to_csv(index=False)
    write_whole(folder / f"{name}.csv", content.encode())


def load(name: str, setting: Setting) -> pd.DataFrame:
    """Read what `save` wrote. Raises InputError where no notebook has written it yet."""
    path = ROOT / setting.output / "data" / "results" / f"{name}.csv"
    if not path.is_file():
        raise InputError(f"output: {path} is not there; run the notebook that writes it first.")
    return pd.read_csv(path)


def provenance(table: pd.DataFrame) -> str:
    """Data source and plan of a table that `load` read."""
    return "; ".join(
        dict.fromkeys(
            f"{source}; plan: {plan}"
            for source, plan in table[["source", "plan"]].drop_duplicates().itertuples(index=False)
        )
    )


def show(figure: plt.Figure, name: str, caption: str, alt: str, origin: str, setting: Setting) -> None:
    """Keep a figure as figures/NAME.png (200 dpi) and .svg, and show it above its caption.

    `caption` states the finding, `alt` says what is to be seen to those who cannot, `origin` names data and plan.
    """
    folder = writable_folder("output", ROOT / setting.output / "figures")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=200, metadata={"Software": None})
    image = _with_few_colours(picture)
    write_whole(folder / f"{name}.png", image)
    drawing = io.BytesIO()
    figure.savefig(drawing, format="svg", metadata={"Date": None})
    write_whole(folder / f"{name}.svg", drawing.getvalue())
    plt.close(figure)
    share = min(1, figure.get_figwidth() / plots.WIDTH)
    source = base64.b64encode(image).decode()
    shown = (
        f'<img src="data:image/png;base64,{source}" alt="{html.escape(alt, quote=True)}" style="width: {share:.0%}">'
    )
    words = f"<figcaption>{caption} <small>{html.escape(origin)}</small></figcaption>"
    display(HTML(f'<figure id="{name}"><div class="scroll">{shown}</div>{words}</figure>'))


def _with_few_colours(picture: io.BytesIO) -> bytes:
    """The PNG in 128 colours, at a third of the size: the report is to be sent by mail."""
    small = io.BytesIO()
    Image.open(picture).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(
        small, "png", optimize=True, dpi=(200, 200)
    )
    return small.getvalue()


def show_table(table: pd.DataFrame, caption: str, origin: str, **to_html) -> None:
    """Show a table below its caption; numbers are to be formatted by the caller."""
    body = table.to_html(border=0, escape=False, **to_html)
    display(
        HTML(
            f'<figure class="table"><figcaption>{caption} <small>{html.escape(origin)}</small></figcaption>'
            f'<div class="scroll">{body}</div></figure>'
        )
    )


def say(text: str) -> None:
    """A paragraph of Markdown, its numbers put in by the caller."""
    display(Markdown(text))
