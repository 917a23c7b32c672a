"""make readme: write what data/results says into README.md, between the marks of each part."""

import re

import pandas as pd

from helpers import reproduction, statistics
from helpers.inputs import ROOT, InputError

QUALIFIER = (
    "Test accuracy in percentage points, mean ± half-width of the 95 % t interval over rounds, paired by round; "
    "“helps” and “harms” stand only where the interval and a permutation test (Holm's correction) both leave zero out."
)
TABLE_QUALIFIER = "After the last epoch, dropout off: mean ± half-width of the 95 % t interval over rounds."


def parts() -> dict[str, str]:
    """The generated parts of the README by name, as Markdown."""
    shown = _read("results_table")
    origin = f"{shown.source.iloc[0]}; plan: {shown.plan.iloc[0]}"
    shown = shown.drop(columns=["source", "plan"])
    final = statistics.last_epoch(pd.concat([_read("m5"), _read("m6")], ignore_index=True))
    m6 = reproduction.beyond(statistics.by_round(final, "test_accuracy"), final, _read("ladder_gains"))
    answers = [m6, *statistics.answer_across(reproduction.effects(_read), reproduction.FAMILIES)]
    rows = [shown.columns, ["---"] * len(shown.columns), *shown.astype(str).to_numpy()]
    return {
        "answer": "\n".join(f"- {sentence}" for sentence in answers) + f"\n\n{QUALIFIER} ({origin}.)",
        "table": "\n".join(f"| {' | '.join(row)} |" for row in rows) + f"\n\n{TABLE_QUALIFIER} ({origin}.)",
    }


def filled(text: str) -> str:
    """The README's text with its generated parts written anew."""
    for name, content in parts().items():
        between = re.compile(f"(<!-- {name} -->).*?(<!-- /{name} -->)", re.DOTALL)
        text = between.sub(lambda marks, content=content: f"{marks[1]}\n{content}\n{marks[2]}", text)
    return text


def _read(name: str) -> pd.DataFrame:
    path = ROOT / "data" / "results" / f"{name}.csv"
    if not path.is_file():
        raise InputError(f"{path} is not there; make published writes it.")
    return pd.read_csv(path)


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(filled(path.read_text()))
    print("README.md says what data/results says.")
