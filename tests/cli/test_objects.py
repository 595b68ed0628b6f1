"""put, get, cat, cp, mv, head, tags, ls on a server; the program's own process for the main path."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage.cli._errors import ExitCode
from greenlang_async_storage.testing import StorageServer
from tests.cli.conftest import Cli, content, fill, keys

MIB = 1024 * 1024


def test_the_way_of_an_object(cli: Cli, observer: Any, bucket_name: str) -> None:
    """The real program: a pipe in, listed, read back to a pipe and to a file, copied, moved, removed."""
    data = os.urandom(6 * MIB)
    stored = cli.run("put", "-", "data-lake:a/b.bin", stdin=data)
    assert (stored.code, stored.out) == (0, f"uploaded 6.0 MiB to s3://{bucket_name}/a/b.bin\n")
    assert content(observer, bucket_name, "a/b.bin") == data
    with cli.start("cat", "data-lake:a/b.bin") as process:
        out, err = process.communicate(timeout=50)
    assert (out == data, err, process.returncode) == (True, b"", 0)
    assert cli.run("get", f"s3://{bucket_name}/a/b.bin").code == 0
    assert (cli.folder / "b.bin").read_bytes() == data
    assert cli.run("cp", "data-lake:a/b.bin", "data-lake:c/").code == 0
    assert cli.run("mv", "data-lake:c/b.bin", "data-lake:d.bin").code == 0
    assert keys(observer, bucket_name) == ["a/b.bin", "d.bin"]
    assert cli.run("rm", "data-lake:d.bin").code == 0
    listed = cli.run("ls", "-r", "data-lake:", "--json")
    assert [line["key"] for line in listed.lines] == ["a/b.bin"]


def test_a_folder_there_and_back(cli: Cli, observer: Any, bucket_name: str) -> None:
    """Folders go up and come down with the same names and bytes, empty and odd names included."""
    names = ["x.txt", "sub/ü ä.csv", "sub/deep/+%20#?.bin", "empty"]
    for name in names:
        cli.write(f"tree/{name}", b"" if name == "empty" else name.encode())
    done = cli.ok("put", "-r", "tree", "data-lake:in")
    assert done.out.startswith("uploaded 4 objects")
    assert sorted(keys(observer, bucket_name)) == sorted(f"in/{name}" for name in names)
    cli.ok("get", "-r", "data-lake:in/", "back")
    for name in names:
        assert (cli.folder / "back" / name).read_bytes() == (cli.folder / "tree" / name).read_bytes()


def test_json_of_transfers(cli: Cli) -> None:
    """Each object is a line, and many end in a summary; stdout is nothing but JSON."""
    cli.write("a.txt")
    cli.write("b.txt")
    done = cli.ok("put", "a.txt", "b.txt", "data-lake:t/", "--json")
    assert {line["uri"].rpartition("/")[2] for line in done.lines[:2]} == {"a.txt", "b.txt"}
    assert all(line["ok"] and line["etag"] and line["size"] == 4 for line in done.lines[:2])
    assert done.lines[2]["summary"] == {
        "action": "upload",
        "done": 2,
        "failed": 0,
        "bytes": 8,
        "seconds": done.lines[2]["summary"]["seconds"],
    }
    [line] = cli.ok("put", "a.txt", "data-lake:one", "--json").lines
    assert (line["action"], line["source"], line["key"]) == ("upload", "a.txt", "one")
    got = cli.ok("get", "data-lake:t/*.txt", "down/", "--json").lines
    assert {(entry["key"], entry["path"]) for entry in got[:2]} == {
        ("t/a.txt", "down/a.txt"),
        ("t/b.txt", "down/b.txt"),
    }


def test_one_failure_never_sinks_the_rest(cli: Cli, observer: Any, bucket_name: str) -> None:
    """A file that cannot be read is told, the others are stored, and the exit code is its own."""
    cli.write("tree/good")
    (cli.folder / "tree" / "gone").symlink_to("nowhere")
    done = cli.call("put", "-r", "tree", "data-lake:t")
    assert done.code == ExitCode.NOT_FOUND
    assert "gone" in done.err
    assert "uploaded 1 object" in done.out
    assert "1 failure" in done.out
    assert keys(observer, bucket_name) == ["t/good"]
    lines = cli.call("put", "-r", "tree", "data-lake:t", "--json").lines
    assert [line.get("ok") for line in lines] == [False, True, None] or [
        line.get("ok") for line in lines
    ] == [True, False, None]


REFUSED: list[tuple[tuple[str, ...], int, str]] = [
    (("get", "data-lake:missing", "x"), 3, "missing"),
    (("cat", "data-lake:missing"), 3, "missing"),
    (("head", "data-lake:missing"), 3, "missing"),
    (("rm", "data-lake:missing"), 3, "missing"),
    (("ls", "data-lake:missing"), 3, "nothing starts with"),
    (("get", "-r", "data-lake:missing/", "x"), 3, "no object matches"),
    (("get", "data-lake:*.none", "x"), 3, "no object matches"),
    (("cp", "-r", "data-lake:missing", "data-lake:y"), 3, "no object matches"),
    (("rm", "-r", "-y", "data-lake:missing"), 3, "no object matches"),
    (("put", "nofile", "data-lake:x"), 3, "nofile"),
    (("put", "no*file", "data-lake:x"), 3, "no file matches"),
    (("ls", "s3://no-such-bucket-of-anybody/"), 3, "bucket"),
    (("put", "tree", "data-lake:x"), 2, "--recursive"),
    (("put", "here", "there"), 2, "s3://bucket/key"),
    (("put", "here"), 2, "source and a target"),
    (("put", "here", "tree/sub", "data-lake:x"), 2, "end it with '/'"),
    (("put", "-", "data-lake:x/"), 2, "whole key"),
    (("put", "-", "-", "data-lake:x"), 2, "stands alone"),
    (("get", "here"), 2, "no place in a store"),
    (("get", "data-lake:"), 2, "names no object"),
    (("get", "-r", "data-lake:a", "-"), 2, "standard output"),
    (("cp", "here", "there"), 2, "neither side"),
    (("cp", "here", "data-lake:a", "data-lake:b/"), 2, "one command for each"),
    (("cp", "-r", "data-lake:a", "data-lake:a/b"), 2, "lies inside"),
    (("put", "data-lake:a", "data-lake:b"), 2, "use cp"),
    (("put", "here", "data-lake:x", "--tag", "nonsense"), 2, "KEY=VALUE"),
    (("put", "here", "data-lake:x", "--encryption", "rot13"), 2, "AES256"),
    (("tags", "get", "data-lake:missing"), 3, "missing"),
]


def test_what_cannot_work_is_one_line(cli: Cli) -> None:
    """Each mistake has its exit code and says what to do; nothing is written."""
    cli.write("here")
    cli.write("tree/sub")
    for arguments, code, says in REFUSED:
        done = cli.call(*arguments)
        assert (done.code, says in done.err) == (code, True), f"{arguments}: {done}"
        assert "Traceback" not in done.err
    assert cli.call("ls", "-r", "data-lake:").out == ""


def test_create_only_and_compare_and_swap(cli: Cli, server: StorageServer, bucket_name: str) -> None:
    """--no-overwrite and --if-match are exit code 5 where they do not hold."""
    cli.write("f")
    first = cli.ok("put", "f", "data-lake:k", "--json").lines[0]["etag"]
    assert cli.call("put", "f", "data-lake:k", "--no-overwrite").code == ExitCode.CONFLICT
    cli.write("f", b"newer")
    cli.ok("put", "f", "data-lake:k", "--if-match", first)
    assert cli.call("put", "f", "data-lake:k", "--if-match", first).code == ExitCode.CONFLICT


def test_what_is_written_with_an_object(cli: Cli) -> None:
    """Metadata, tags, types and cache headers arrive; head and tags show them, for people and machines."""
    cli.write("f.csv", b"a,b\n")
    cli.ok("put", "f.csv", "data-lake:k", "-m", "origin=plant-7", "-t", "a=1", "--cache-control=max-age=60")
    found = cli.ok("head", "data-lake:k", "--json").document
    assert found["metadata"]["origin"] == "plant-7"
    assert (found["size"], found["cache_control"]) == (4, "max-age=60")
    text = cli.ok("head", "data-lake:k").out
    assert "metadata origin      plant-7" in text
    assert cli.ok("tags", "get", "data-lake:k", "--json").document == {"a": "1"}
    assert cli.ok("tags", "set", "data-lake:k", "b=2", "--keep").out == "a=1\nb=2\n"
    assert cli.ok("tags", "set", "data-lake:k", "c=3").out == "c=3\n"
    assert cli.ok("tags", "set", "data-lake:k").out == ""


def test_cat(cli: Cli, observer: Any, bucket_name: str) -> None:
    """Several objects follow each other; ranges count as HTTP does."""
    fill(observer, bucket_name, ["a"], b"0123456789")
    fill(observer, bucket_name, ["b"], b"xyz")
    assert cli.ok("cat", "data-lake:a", "data-lake:b").out == "0123456789xyz"
    assert cli.ok("cat", "data-lake:a", "--range", "2-4").out == "234"
    assert cli.ok("cat", "data-lake:a", "--range", "-3").out == "789"
    assert cli.ok("get", "data-lake:b", "-").out == "xyz"


def test_ls_shows_one_level(cli: Cli, observer: Any, bucket_name: str) -> None:
    """Folders and objects of one level in the order of keys; the marker of the folder itself is left out."""
    fill(observer, bucket_name, ["p/", "p/a", "p/b/1", "p/b/2", "p/c", "q"])
    lines = cli.ok("ls", "data-lake:p/", "--json").lines
    assert [(line["type"], line["key"]) for line in lines] == [
        ("object", "p/a"),
        ("folder", "p/b/"),
        ("object", "p/c"),
    ]
    rows = cli.ok("ls", "data-lake:").out.splitlines()
    assert [row.split()[-1] for row in rows] == ["p/", "q"]
    assert [row.split()[-1] for row in cli.ok("ls", "data-lake:p/*").out.splitlines()] == ["p/", "p/a", "p/c"]
    assert len(cli.ok("ls", "-r", "data-lake:p/b").out.splitlines()) == 2
    assert bucket_name in cli.ok("ls").out
    assert bucket_name in cli.ok("ls", "s3://").out


def test_ls_pages(cli: Cli, observer: Any, bucket_name: str, server: StorageServer) -> None:
    """More than one page of one level is shown whole."""
    if server.name != "moto":
        pytest.skip("proved on the other server")
    fill(observer, bucket_name, [f"k{number:04}" for number in range(1005)], b"")
    assert len(cli.ok("ls", "data-lake:").out.splitlines()) == 1005


def test_copies_inside_a_store(cli: Cli, observer: Any, bucket_name: str) -> None:
    """Globs and folders are copied with their names; a glob never meets its own copies."""
    fill(observer, bucket_name, ["in/a.csv", "in/b.csv", "in/c.txt", "in/sub/d.csv"])
    cli.ok("cp", "data-lake:in/*.csv", "data-lake:in/old/")
    assert keys(observer, bucket_name, "in/old") == ["in/old/a.csv", "in/old/b.csv"]
    cli.ok("cp", "-r", "data-lake:in/sub", "data-lake:out")
    assert keys(observer, bucket_name, "out") == ["out/d.csv"]
    cli.ok("cp", "data-lake:in/**.csv", "data-lake:in/all/")
    assert "in/all/all/a.csv" not in keys(observer, bucket_name)
    cli.ok("mv", "-r", "data-lake:in", "data-lake:moved")
    assert keys(observer, bucket_name, "in/") == []
    assert "moved/sub/d.csv" in keys(observer, bucket_name)


def test_moves_between_here_and_there(cli: Cli, observer: Any, bucket_name: str) -> None:
    """Mv deletes the source once it is stored, on either side; emptied folders go, others stay."""
    cli.write("one")
    cli.ok("mv", "one", "data-lake:one")
    assert not (cli.folder / "one").exists()
    cli.write("tree/a")
    cli.write("tree/sub/b")
    cli.ok("mv", "-r", "tree", "data-lake:t")
    assert not (cli.folder / "tree").exists()
    cli.ok("mv", "data-lake:t/a", "back/")
    cli.ok("mv", "-r", "data-lake:t/sub", "back")
    assert sorted(path.name for path in (cli.folder / "back").iterdir()) == ["a", "b"]
    assert keys(observer, bucket_name) == ["one"]


def test_moves_across_buckets(cli: Cli, observer: Any, bucket_name: str) -> None:
    """Mv to another bucket copies there and deletes here."""
    other = f"{bucket_name[:40]}-other"
    observer.create_bucket(Bucket=other)
    try:
        fill(observer, bucket_name, ["a/x", "a/y"])
        cli.ok("mv", "-r", "data-lake:a", f"s3://{other}/b")
        assert (keys(observer, bucket_name), keys(observer, other)) == ([], ["b/x", "b/y"])
    finally:
        for key in keys(observer, other):
            observer.delete_object(Bucket=other, Key=key)
        observer.delete_bucket(Bucket=other)


def test_get_never_leaves_its_folder(
    cli: Cli, observer: Any, bucket_name: str, server: StorageServer
) -> None:
    """A key with `..` is a failure of its own; the others arrive."""
    if server.name != "moto":
        pytest.skip("proved on the other server: this one refuses such keys itself")
    fill(observer, bucket_name, ["p/../../evil", "p/good"])
    done = cli.call("get", "-r", "data-lake:p", "down")
    assert done.code != 0
    assert (cli.folder / "down" / "good").exists()
    assert not list(Path(cli.folder).parent.rglob("evil"))


def test_presign(cli: Cli, observer: Any, bucket_name: str) -> None:
    """Links work with a client that is no SDK, and say when they end."""
    import urllib.request

    fill(observer, bucket_name, ["k"], b"signed")
    link = cli.ok("presign", "get", "data-lake:k", "--expires-in", "5m")
    with urllib.request.urlopen(link.out.strip()) as reply:
        assert reply.read() == b"signed"
    assert "works until" in link.err
    signed = cli.ok("presign", "put", "data-lake:up.csv", "--json").document
    request = urllib.request.Request(signed["url"], data=b"1,2", method="PUT", headers=signed["headers"])
    urllib.request.urlopen(request).close()
    assert content(observer, bucket_name, "up.csv") == b"1,2"
    form = cli.ok("presign", "post", "data-lake:up2", "--max-size", "1M", "--json").document
    assert {"key", "policy"} <= set(form["fields"])
    assert cli.call("presign", "get", "data-lake:k", "--expires-in", "8d").code == ExitCode.USAGE


def test_the_real_program_tells_errors_as_json(cli: Cli) -> None:
    """Machines get an object on standard error, with the exit code in it."""
    done = cli.run("head", "data-lake:missing", "--json")
    assert (done.code, done.out) == (3, "")
    error = json.loads(done.err)["error"]
    assert (error["type"], error["status"], error["key"]) == ("S3NotFoundError", 404, "missing")
