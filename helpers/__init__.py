"""The thin support module behind the notebooks: data → models → training → experiments; statistics, plots; report."""
