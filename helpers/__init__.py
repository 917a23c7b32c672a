"""The support module of the report, see README.md.

Before torch is imported anywhere, its libraries are told which instructions to use, the same on all x86 processors:
else they choose by processor, round otherwise, and training multiplies that.
"""

import os

os.environ |= {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "COMPATIBLE"}
