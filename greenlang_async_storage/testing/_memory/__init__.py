"""An S3 in the memory of this process, behind an HTTP session of aiobotocore."""
