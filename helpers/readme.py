"""make readme: write what data/results says into README.md, between the marks of each part."""

import re

import pandas as pd

from helpers import reproduction, statistics
from helpers.inputs import ROOT

RESULTS = ROOT / "data" / "results"
QUALIFIER = (
    "Test accuracy in percentage points, mean ± half-width of the 95 % t interval over rounds, paired by round; “helps”"
    " and “harms” stand only where the interval and a permutation test (Holm's correction) both leave zero out."
)
TABLE_QUALIFIER = "After the last epoch, dropout off: mean ± half-width of the 95 % t interval over rounds."


def parts() -> dict[str, str]:
    """The generated parts of the README by name, as Markdown."""
    table = pd.read_csv(RESULTS / "results_table.csv")
    origin = f"{table.source.iloc[0]}; plan: {table.plan.iloc[0]}"
    shown = table.drop(columns=["source", "plan"])
    lines = [shown.columns, ["---"] * len(shown.columns), *shown.astype(str).to_numpy()]
    answers = [
        statistics.answer(pd.read_csv(RESULTS / f"effects_{family}.csv"), name)
        for family, name in reproduction.FAMILIES.items()
    ]
    return {
        "answer": "\n".join(f"- {sentence}" for sentence in answers) + f"\n\n{QUALIFIER} ({origin}.)",
        "table": "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{TABLE_QUALIFIER} ({origin}.)",
    }


def filled(text: str) -> str:
    """The README's text with its generated parts written anew."""
    for name, content in parts().items():
        marks = f"<!-- {name} -->", f"<!-- /{name} -->"
        text = re.sub(
            f"{marks[0]}.*?{marks[1]}", lambda _, c=content, m=marks: f"{m[0]}\n{c}\n{m[1]}", text, flags=re.S
        )
    return text


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(filled(path.read_text()))
    print("README.md says what data/results says.")
