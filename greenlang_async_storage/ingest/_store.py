"""
The disk behind a plan: its actions and failures, and the journal of what was found equal.

Actions lie in SQLite's temporary tables, a private file that is gone when the process is, however it ends.
The journal is an SQLite file of its own (0600): one row per key whose two sides were equal, with their states
then. A commit survives a kill of the process. Everything here blocks: it runs in the plan's own thread.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, cast

from greenlang_async_storage import S3Error, S3InvalidRequestError, S3LocalFileError

from ._types import ActionKind, IngestFailure

APPLICATION_ID: Final = 0x474C_494E
VERSION: Final = 1
DELETES: Final = -1
"""The lane of all deletes; they come last."""
UPLOADS: Final = "-uploads"
"""Ends the name of the folder beside a journal where unfinished uploads in parts are noted."""
SIDE_FILES: Final = ("", "-wal", "-shm", "-journal", UPLOADS)

_SPOOL: Final = """
PRAGMA temp_store = FILE;
CREATE TEMP TABLE action (
    seq INTEGER PRIMARY KEY, lane INTEGER, kind TEXT, key TEXT, size INTEGER, reason TEXT,
    source TEXT, target TEXT, state INTEGER DEFAULT 0);
CREATE TEMP TABLE failure (seq INTEGER PRIMARY KEY, key TEXT, kind TEXT, error BLOB);
CREATE TEMP TABLE taken (folded TEXT PRIMARY KEY, key TEXT) WITHOUT ROWID;
"""
_JOURNAL: Final = """
CREATE TABLE about (version INTEGER, plan TEXT);
CREATE TABLE known (
    key TEXT PRIMARY KEY, source TEXT, target TEXT, algorithm TEXT, value TEXT) WITHOUT ROWID;
"""


class Planned(NamedTuple):
    """One action as it is spooled."""

    seq: int
    """Its place in the order of keys."""
    lane: int
    """Numbers the first segment of its key; `DELETES` for deletes."""
    kind: ActionKind
    key: str
    size: int
    reason: str
    source: str
    """State of the source when it was planned; empty where there is none."""
    target: str


class Known(NamedTuple):
    """Two sides that were equal."""

    key: str
    source: str
    """Their states then; empty where one could not be told for sure."""
    target: str
    algorithm: str
    """Of the checksum both had; empty where there was none to compare."""
    value: str


class Settled(NamedTuple):
    """What became of one action."""

    seq: int
    kind: ActionKind
    key: str
    error: S3Error | None
    known: Known | None


class Failed(NamedTuple):
    """What never became an action."""

    seq: int
    key: str
    error: S3Error


class Store:
    """One SQLite connection: the spool of a plan and, with *journal*, what outlives it."""

    def __init__(self, journal: Path | None, about: Mapping[str, str]) -> None:
        self._journal = journal
        self._about = json.dumps(about, sort_keys=True)
        self._db: sqlite3.Connection | None = None

    @property
    def remembers(self) -> bool:
        """Whether there is a journal."""
        return self._journal is not None

    def open(self) -> None:
        """
        Make the spool, and lock and check the journal.

        `S3LocalFileError` while another run has it (EAGAIN) or where the disk refuses;
        `S3InvalidRequestError` for a journal of another plan, or a file that is no journal: both stay as they
        are.
        """
        name = ""
        if self._journal is not None:
            name = str(self._journal)
            with self._local_errors():
                _make_private(name)
        self._db = sqlite3.connect(name, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            with self._local_errors():
                if self._journal is not None:
                    self._open_journal(self._db)
                self._db.executescript(_SPOOL)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the journal free and the spool back; calling it again does nothing."""
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _open_journal(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        if db.execute("PRAGMA schema_version").fetchone()[0]:
            self._check(db)
        db.execute("PRAGMA journal_mode = WAL")
        # A commit is in the system's hands when it returns; the disk is asked to sync at checkpoints only.
        db.execute("PRAGMA synchronous = NORMAL")
        with _transaction(db, "EXCLUSIVE"):
            if not db.execute("PRAGMA schema_version").fetchone()[0]:
                for statement in _JOURNAL.split(";"):
                    db.execute(statement)
                db.execute("INSERT INTO about VALUES (?, ?)", (VERSION, self._about))
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def _check(self, db: sqlite3.Connection) -> None:
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise self._refused("is no journal of a plan")
        version, plan = db.execute("SELECT version, plan FROM about").fetchone()
        if version != VERSION:
            raise self._refused(f"is a journal of format {version}, not {VERSION}")
        if plan != self._about:
            raise self._refused(f"is the journal of another plan: {plan}, not {self._about}")

    def _refused(self, what: str) -> S3InvalidRequestError:
        return S3InvalidRequestError(
            f"{str(self._journal)!r} {what}",
            remedy="Pass another path as journal=, one for each pair of source and target, or remove it.",
        )

    @contextmanager
    def _local_errors(self) -> Iterator[None]:
        """What SQLite or the system refuse, as errors that name the journal."""
        try:
            yield
        except OSError as exc:
            raise S3LocalFileError(
                f"cannot open the journal {str(self._journal)!r}: {exc.strerror}", errno=exc.errno
            ) from exc
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise self._unusable(exc) from exc
            raise S3LocalFileError(
                f"another run works with the journal {str(self._journal)!r}",
                errno=errno.EAGAIN,
                retryable=True,
                remedy="Wait for it to end, or pass another path as journal=.",
            ) from exc
        except sqlite3.DatabaseError as exc:
            if exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_NOTADB:
                raise self._refused("is no journal of a plan") from exc
            raise self._unusable(exc) from exc

    def _unusable(self, exc: sqlite3.Error) -> S3LocalFileError:
        full = exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL
        where = f"the journal {str(self._journal)!r}" if self._journal else "the plan's temporary file"
        return S3LocalFileError(
            f"SQLite cannot work with {where}: {exc}",
            errno=errno.ENOSPC if full else None,
            remedy="Check free space there and in TMPDIR; a damaged journal may be removed: the next run "
            "compares everything again.",
        )

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        if self._db is None:
            raise RuntimeError("the plan is closed; make a new one")
        with self._local_errors():
            yield self._db

    # Planning.

    def known(self, keys: Sequence[str]) -> dict[str, Known]:
        """What the journal says of *keys*."""
        if self._journal is None:
            return {}
        marks = ",".join("?" * len(keys))
        with self._using() as db:
            rows = db.execute(f"SELECT * FROM known WHERE key IN ({marks})", keys)  # noqa: S608  # marks only
            return {row[0]: Known(*row) for row in rows}

    def take(self, names: Sequence[tuple[str, str]]) -> dict[str, str]:
        """Claim (folded, key) pairs; gives the keys whose folded form another key has, and that key."""
        clashes = {}
        with self._using() as db, _transaction(db):
            for folded, key in names:
                other = db.execute("SELECT key FROM taken WHERE folded = ?", (folded,)).fetchone()
                if other is None:
                    db.execute("INSERT INTO taken VALUES (?, ?)", (folded, key))
                else:
                    clashes[key] = str(other[0])
        return clashes

    def add(self, actions: Iterable[Planned], failed: Iterable[Failed], known: Iterable[Known]) -> None:
        """Spool what was decided, and write into the journal what was found equal."""
        with self._using() as db, _transaction(db):
            db.executemany("INSERT INTO action VALUES (?,?,?,?,?,?,?,?,0)", actions)
            rows = ((each.seq, each.key, None, pickle.dumps(each.error)) for each in failed)
            db.executemany("INSERT INTO failure VALUES (?,?,?,?)", rows)
            self._remember(db, known)

    def planned(self) -> None:
        """All actions are in."""
        with self._using() as db:
            db.execute("CREATE INDEX lane ON action (lane, seq)")
            db.execute("DELETE FROM taken")

    # Reading back.

    def actions(self, after: int, limit: int) -> list[Planned]:
        """The next actions in the order of keys, whatever became of them."""
        with self._using() as db:
            rows = db.execute(f"{_SELECT} WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
            return [Planned(*row) for row in rows]

    def pending(self, lane: int, after: int, limit: int) -> list[Planned]:
        """The next actions of one lane that are to be done."""
        with self._using() as db:
            where = "WHERE lane = ? AND seq > ? AND state = 0 ORDER BY seq LIMIT ?"
            return [Planned(*row) for row in db.execute(f"{_SELECT} {where}", (lane, after, limit))]

    def lane_after(self, lane: int) -> int | None:
        """The next lane that has actions."""
        with self._using() as db:
            row = db.execute("SELECT min(lane) FROM action WHERE lane > ?", (lane,)).fetchone()
            return cast("int | None", row[0])

    def left(self) -> tuple[int, int, int]:
        """Transfers and deletes that are not done, and the bytes of the transfers."""
        query = "SELECT lane = ?, count(*), total(size) FROM action WHERE state <> 1 GROUP BY 1"
        with self._using() as db:
            rows = {deletes: (count, size) for deletes, count, size in db.execute(query, (DELETES,))}
        transfers, size = rows.get(0, (0, 0))
        return transfers, rows.get(1, (0, 0))[0], int(size)

    def failures(self, after: int, limit: int) -> list[tuple[int, IngestFailure]]:
        """The next failures in the order of keys, with their places."""
        query = "SELECT seq, key, kind, error FROM failure WHERE seq > ? ORDER BY seq LIMIT ?"
        with self._using() as db:
            rows = db.execute(query, (after, limit)).fetchall()
        # The table is this process's own.
        return [(seq, IngestFailure(key, kind, pickle.loads(error))) for seq, key, kind, error in rows]  # noqa: S301

    # Applying: an action's state is 0 while it is to be done, 1 when it is done, 2 when it has failed.

    def restart(self) -> None:
        """What failed in an earlier run is to be done again."""
        with self._using() as db:
            db.execute("UPDATE action SET state = 0 WHERE state = 2")

    def settle(self, settled: Sequence[Settled]) -> None:
        """Write down what became of actions, all or none of it."""
        with self._using() as db, _transaction(db):
            for each in settled:
                db.execute("DELETE FROM failure WHERE seq = ?", (each.seq,))
                if each.error is not None:
                    row = each.seq, each.key, each.kind, pickle.dumps(each.error)
                    db.execute("INSERT INTO failure VALUES (?,?,?,?)", row)
                    db.execute("UPDATE action SET state = 2 WHERE seq = ?", (each.seq,))
                    continue
                db.execute("UPDATE action SET state = 1 WHERE seq = ?", (each.seq,))
                if each.kind == "delete" and self._journal is not None:
                    db.execute("DELETE FROM known WHERE key = ?", (each.key,))
            self._remember(db, (each.known for each in settled if each.known is not None))

    def _remember(self, db: sqlite3.Connection, known: Iterable[Known]) -> None:
        if self._journal is not None:
            db.executemany("INSERT OR REPLACE INTO known VALUES (?,?,?,?,?)", known)


def _make_private(name: str) -> None:
    """
    An empty file only its owner may read, unless there is a regular file.

    That one is not opened here: closing it would drop the locks this process holds on it (POSIX).
    """
    try:
        mode = os.lstat(name).st_mode
    except FileNotFoundError:
        os.close(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    else:
        if not stat.S_ISREG(mode):
            raise FileExistsError(errno.EEXIST, "it is no regular file")


_SELECT: Final = "SELECT seq, lane, kind, key, size, reason, source, target FROM action"


@contextmanager
def _transaction(db: sqlite3.Connection, kind: str = "DEFERRED") -> Iterator[None]:
    db.execute(f"BEGIN {kind}")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
