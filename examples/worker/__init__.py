"""
Two workers on taskiq: one validates what clients landed, the other writes a report of each valid upload.

Embedded, without Redis (an in-memory broker, in one process):

    python -m greenlang_async_storage.testing moto -- python -m examples.worker

With Redis, in as many processes as wanted, here two workers; SIGTERM lets them finish what they began:

    export REDIS_URL=redis://127.0.0.1:6379 GREENLANG_STORAGE_ENDPOINT_URL=...
    taskiq worker examples.worker.broker:broker examples.worker.tasks --workers 2 --wait-tasks-timeout 30
    python -m examples.worker --uploads 1000
"""
