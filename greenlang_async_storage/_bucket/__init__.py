"""`Bucket`: what users call; each method checks the key, opens a call scope and delegates."""

from __future__ import annotations

from ._batches import BucketBatches
from ._changes import BucketChanges
from ._reads import BucketReads
from ._writes import BucketWrites

__all__ = ["Bucket"]


class Bucket(BucketReads, BucketWrites, BucketChanges, BucketBatches):
    """
    One bucket of an open session: every call on its objects; get it from `StorageSession`.

    Costs nothing to make and holds nothing open. Every coroutine takes `timeout=`, seconds for the whole
    call; without it single requests are bounded by `GREENLANG_STORAGE_CALL_TIMEOUT`, transfers by a stall
    limit. All raise subclasses of `S3Error`. Keys are 1 to 1,024 bytes of UTF-8 (S3: "Naming Amazon
    S3 objects").
    """

    __slots__ = ()
