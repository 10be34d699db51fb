"""Factors between units: how many of the smaller unit make one of the larger."""

__all__ = [
    "GIB",
    "KIB",
    "KIB_PER_GIB",
    "MIB",
    "MS_PER_S",
    "MW_NS_PER_UJ",
    "MW_PER_W",
    "NANO_CPUS_PER_CPU",
    "NJ_PER_UJ",
    "NS_PER_MS",
    "NS_PER_S",
    "NS_PER_US",
    "PJ_PER_UJ",
    "PPM",
    "UJ_PER_J",
    "UJ_PER_MJ",
    "UW_PER_MW",
]

MS_PER_S = 1_000
NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

MW_PER_W = 1_000
UW_PER_MW = 1_000

PJ_PER_UJ = 1_000_000
NJ_PER_UJ = 1_000
UJ_PER_MJ = 1_000  # mJ: millijoules
UJ_PER_J = 1_000_000
# A milliwatt for a nanosecond is a picojoule.
MW_NS_PER_UJ = PJ_PER_UJ

# The container engine counts CPU time in billionths of a CPU.
NANO_CPUS_PER_CPU = 1_000_000_000

# The whole, in parts per million.
PPM = 1_000_000

KIB = 2**10
MIB = 2**20
GIB = 2**30
KIB_PER_GIB = GIB // KIB
