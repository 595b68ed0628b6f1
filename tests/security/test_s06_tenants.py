"""S6: what one tenant does never touches, shows or names what is another's."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest

from greenlang_async_storage import Bucket, S3Error, S3InvalidRequestError, S3NotFoundError
from greenlang_async_storage.artifacts import CalculationStore
from tests.support.faults import BUCKET, Door, Lab, laboratory

pytestmark = pytest.mark.asyncio

TENANTS: Final = ("t1", "t10", "t", "t1-evil")
KEYS: Final = ("a", "b/c", "t10/a", "t1/a", "0", "..a", "tenants/t10/a")
ESCAPES: Final = ("../t10/a", "a/../../t10/a", "/tenants/t10/a", "./a", "..", "")


class Model:
    """What each tenant must have."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self.lab = lab
        self.draw = random.Random(seed)
        self.views = {name: lab.lake.scoped("tenants").scoped(name) for name in TENANTS}
        self.held: dict[str, dict[str, bytes]] = {name: {} for name in TENANTS}

    async def step(self, folder: Path) -> None:
        """One call of one tenant, and what it gives."""
        name = self.draw.choice(TENANTS)
        view, held = self.views[name], self.held[name]
        key, other = self.draw.choice(KEYS), self.draw.choice(KEYS)
        match self.draw.choice(
            ("put", "put", "get", "list", "copy", "move", "delete", "many", "part", "link")
        ):
            case "put":
                held[key] = f"{name}:{key}:{self.draw.random()}".encode()
                await view.upload_bytes(key, held[key])
            case "get":
                await self.read(view, held, key)
            case "list":
                assert {found.key async for found in view.list_objects()} == set(held)
                prefixes = {found async for found in view.list_prefixes()}
                assert prefixes == {f"{each.split('/')[0]}/" for each in held if "/" in each}
            case "copy" | "move" as verb if key != other:
                await self.copied(view, held, verb, key, other)
            case "delete":
                held.pop(key, None)
                await view.delete(key)
            case "many":
                report = await view.delete_many([key, other])
                report.raise_for_errors()
                held.pop(key, None)
                held.pop(other, None)
            case "part":
                upload = await view.create_multipart(key)
                for stranger in TENANTS:
                    if stranger != name:
                        with pytest.raises(S3InvalidRequestError):
                            await self.views[stranger].abort_multipart(upload)
                await view.abort_multipart(upload)
            case "link":
                link = await view.presign_download(key)
                assert unquote(urlsplit(str(link)).path) == f"/{BUCKET}/tenants/{name}/{key}"

    async def read(self, view: Bucket, held: dict[str, bytes], key: str) -> None:
        if key in held:
            assert await view.download_bytes(key) == held[key]
            assert (await view.head(key)).key == key
        else:
            with pytest.raises(S3NotFoundError):
                await view.download_bytes(key)

    async def copied(self, view: Bucket, held: dict[str, bytes], verb: str, key: str, other: str) -> None:
        call = view.copy if verb == "copy" else view.move
        if key not in held:
            with pytest.raises(S3NotFoundError):
                await call(key, other)
            return
        await call(key, other)
        held[other] = held[key] if verb == "copy" else held.pop(key)

    def check(self) -> None:
        """The store holds exactly what the model says."""
        wanted = {
            f"tenants/{name}/{key}": data for name, held in self.held.items() for key, data in held.items()
        }
        found = {key: self.lab.store.get(BUCKET, key) for key in self.lab.store.keys(BUCKET)}
        assert found == wanted


@pytest.mark.parametrize("door", ["direct", "served"])
@pytest.mark.parametrize("seed", range(3))
async def test_s06_tenants_never_meet(door: Door, seed: int, tmp_path: Path) -> None:
    """600 random calls of four tenants whose names begin alike: each sees its own, and nothing else moves."""
    async with laboratory(door) as lab:
        model = Model(lab, seed)
        for _ in range(200):
            await model.step(tmp_path)
            model.check()


async def test_s06_no_argument_leads_out(tmp_path: Path) -> None:
    """Refused before anything is sent, whichever argument carries it."""
    async with laboratory() as lab:
        lab.store.put(BUCKET, "tenants/t10/a", b"secret of t10")
        view = lab.lake.scoped("tenants/t1")
        sent = len(lab.faults.requests)
        for key in ESCAPES:
            for call in (
                view.download_bytes(key),
                view.upload_bytes(key, b""),
                view.delete(key),
                view.copy(key, "x"),
                view.copy("x", key),
                view.move(key, "x"),
                view.presign_download(key),
                view.presign_upload(key, content_type="a/b"),
                view.presign_post(key, content_type="a/b", max_size=1),
                view.create_multipart(key),
                view.get_tags(key),
                view.download_file(key, tmp_path / "file"),
            ):
                with pytest.raises(S3InvalidRequestError):
                    await call
            for batch in (view.delete_many([key]), view.download_many([key], tmp_path)):
                report = await batch
                assert isinstance(report.failed[0].error, S3Error)
        assert len(lab.faults.requests) == sent
        assert lab.store.get(BUCKET, "tenants/t10/a") == b"secret of t10"
        with pytest.raises(S3InvalidRequestError):
            lab.lake.scoped("")


async def test_s06_records_of_tenants_whose_names_begin_alike() -> None:
    """A day's calculations of `t1` are not those of `t10`."""
    async with laboratory() as lab:
        store = CalculationStore(lab.lake)
        saved = {name: await store.save(name, f"calc-{name}", {"of": name}) for name in ("t1", "t10")}
        for name, artifact in saved.items():
            day = artifact.key.split("/")[3:6]
            assert await store.load(name, f"calc-{name}") == {"of": name}, day
            other = "t10" if name == "t1" else "t1"
            with pytest.raises(S3NotFoundError):
                await store.load(name, f"calc-{other}")
