"""
The table of single faults, run on other libraries: `python -m tests.faults.peers --write`.

Seven operations any of them has, each request it sends, the same faults, and the same rules for all. Each
library runs in a process of its own, in the environment of the benchmarks, with time-outs where it has them.
"""
