"""The support module of the report, see README.md; the sources of what trains are noted before anything else."""

from helpers import fingerprint as fingerprint
