"""
Batches past one machine: `Bucket`'s batches on Ray actors, each with a storage session of its own.

```python
report = await upload_distributed(items, bucket="my-lake", actors=8)
report = await copy_prefix_distributed("source", "bronze/", "target", "bronze/")
report = await verify_distributed("target", "bronze/")
report.raise_for_errors()
```

Without a cluster they run on one that Ray starts on this machine; *address* (or `RAY_ADDRESS`) names another.
The driver holds a few manifests of keys, never the bytes of files; a killed actor's manifest is done again.
`ObjectReader` reads listed objects inside `ray.data`. Extra: `[ray]`.
"""

from __future__ import annotations

from ._dataset import ObjectReader, ObjectRow
from ._jobs import copy_prefix_distributed, upload_distributed, verify_distributed
from ._report import DistributedReport, OutcomeHook

__all__ = [
    "DistributedReport",
    "ObjectReader",
    "ObjectRow",
    "OutcomeHook",
    "copy_prefix_distributed",
    "upload_distributed",
    "verify_distributed",
]
