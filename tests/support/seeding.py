"""Objects as other programs write them, put there by the observer's plain client."""

from __future__ import annotations

from typing import Any


class Seeder:
    """Writes to one bucket; by default with the checksum this package's uploads send."""

    def __init__(self, client: Any, bucket: str) -> None:
        self.client = client
        self.bucket = bucket

    def put(self, key: str, data: bytes, *, checksum: str | None = "CRC64NVME", **extra: Any) -> str:
        """The ETag, with its quotes, of *data* stored in one request."""
        if checksum is not None:
            extra["ChecksumAlgorithm"] = checksum
        return str(self.client.put_object(Bucket=self.bucket, Key=key, Body=data, **extra)["ETag"])

    def put_parts(self, key: str, *parts: bytes, checksum: str | None = None, **create: Any) -> str:
        """The ETag of an object sent in *parts*; with *checksum* its value is composite, S3's default."""
        chosen = {"ChecksumAlgorithm": checksum} if checksum else {}
        target = {"Bucket": self.bucket, "Key": key}
        upload = self.client.create_multipart_upload(**target, **chosen, **create)["UploadId"]
        done = []
        for number, data in enumerate(parts, 1):
            sent = self.client.upload_part(**target, UploadId=upload, PartNumber=number, Body=data, **chosen)
            part = {"PartNumber": number, "ETag": sent["ETag"]}
            if checksum:
                part[f"Checksum{checksum}"] = sent[f"Checksum{checksum}"]
            done.append(part)
        finished = self.client.complete_multipart_upload(
            **target, UploadId=upload, MultipartUpload={"Parts": done}
        )
        return str(finished["ETag"])

    def keep_versions(self) -> None:
        """Let the bucket keep every version."""
        self.client.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})

    def delete(self, key: str) -> None:
        """Remove the object."""
        self.client.delete_object(Bucket=self.bucket, Key=key)
