"""Executed notebooks as one HTML page: sections, numbered figures and tables, links between them."""

import platform
import re
from collections import Counter
from importlib.metadata import metadata, version
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from jinja2 import Environment, FileSystemLoader
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from helpers import published

TEMPLATES = Path(__file__).parent / "templates"
SHOWN_VERSIONS = ("torch", "numpy", "pandas", "papermill", "nbconvert")


def section(name: str, title: str, notebook: nbformat.NotebookNode, appendix: bool = False) -> dict:
    """One executed notebook as a section of the article: its title, its parsed body, and what it was computed from."""
    exporter = HTMLExporter(template_file=str(TEMPLATES / "section.html.j2"), exclude_anchor_links=True)
    soup = BeautifulSoup(exporter.from_notebook_node(notebook)[0], "html.parser")
    own = soup.h1.extract().get_text() if soup.h1 else name
    for cell in soup.select("th:not([scope])"):
        cell["scope"] = "col" if cell.find_parent("thead") else "row"
    for table in soup.select("figure.table table"):  # on a phone each row is a card
        heads = table.select("thead tr")
        for row in table.select("tbody tr") if len(heads) == 1 else ():
            names = [head.get_text() for head in heads[0].find_all("th")][-len(row.find_all("td")) :]
            for cell, label in zip(row.find_all("td"), names, strict=False):
                cell["data-label"] = label
        if len(heads) == 1:
            table["class"] = " ".join([*map(str, table.get_attribute_list("class")), "cards"])
    origin = "; ".join(line.extract().get_text() for line in soup.select("p.origin"))
    _typeset(soup)
    return {"id": name, "title": title or own, "appendix": appendix, "body": soup, "origin": origin}


def _typeset(soup: BeautifulSoup) -> None:
    """Apostrophes as in print, and no line that ends between a number and its interval or its percent sign."""
    for text in soup.find_all(string=re.compile(r"\w'| ± |\d %")):
        if not text.find_parent(["code", "pre", "script", "style"]) and not text.find_parent(class_="demo"):
            words = re.sub(r"(?<=\w)'", "’", text)
            text.replace_with(re.sub(r" (?=± |%)|(?<= ±) ", "\N{NO-BREAK SPACE}", words))


def _say_once(soup: BeautifulSoup, said: set[str]) -> None:
    """Take away the text between the cells that an earlier run of the same notebook has already `said`."""
    for paragraph in soup.select(".text > p, .text > ul"):
        text = paragraph.get_text()
        if text in said:
            paragraph.extract()
        said.add(text)


def _join(sections: list[dict]) -> None:
    """Make one article of sections: number figures and tables, and say the numbers in the links to their names."""
    labels, places, counts = {part["id"]: "" for part in sections}, {}, Counter()
    said: dict[str, set[str]] = {}
    for part in sections:
        _say_once(part["body"], said.setdefault(part["id"].split("-")[0], set()))
        for figure in part["body"].select("figure.picture[id], figure.table[id]"):
            kind = ("Table " if "table" in figure["class"] else "Figure ") + "A" * part["appendix"]
            counts[kind] += 1
            name, figure["id"] = figure["id"], f"{part['id']}-{figure['id']}"
            places.setdefault(name, figure["id"])
            labels[figure["id"]] = f"{kind}{counts[kind]}"
            figure.figcaption.insert(0, BeautifulSoup(f"<b>{labels[figure['id']]}.</b> ", "html.parser"))
    for part in sections:
        for link in part["body"].select('a[href^="#"], a[href$=".ipynb"]'):
            name = link["href"].removeprefix("#").removesuffix(".ipynb")
            found = next((i for i in (f"{part['id']}-{name}", places.get(name), name) if i in labels), None)
            if found:
                link["href"] = f"#{found}"
                if labels[found]:
                    link.string = labels[found]
            elif not part["body"].find(id=name):
                link.unwrap()  # to what a smaller plan leaves out
        part["parts"] = []
        for turn, heading in enumerate(part["body"].find_all("h2")):
            heading["id"] = f"{part['id']}-part-{turn}"
            part["parts"].append((heading["id"], heading.get_text()))
        for heading in part["body"].find_all(["h2", "h3"]) if part is not sections[0] else []:
            heading.name = f"h{int(heading.name[1]) + 1}"  # below the section's title, which the first has not


def page(plan: dict, plan_name: str, source: str, commit: str, sections: list[dict]) -> str:
    """The whole page of `sections`, as `section` gives them, with what they were made from at its end."""
    _join(sections)
    pages = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)
    themes = {"light": "default", "dark": "github-dark"}
    return pages.get_template("page.html.j2").render(
        sections=sections,
        plan=plan | {"name": plan_name},
        source=source,
        pygments={name: HtmlFormatter(style=style).get_style_defs(".highlight") for name, style in themes.items()},
        versions=[("Python", platform.python_version()), *((name, version(name)) for name in SHOWN_VERSIONS)],
        authors=metadata("digit-comparison")["Author"],
        commit=commit,
        published=published.state(),
    )
