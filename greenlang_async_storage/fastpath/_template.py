"""
Requests of a form that was sent before: what does not change between them is kept, as signed and as sent.

The first call of a form goes the general way, and a `Template` is made from its outcome. Two calls have the
same form when they name the same bucket, parameters and metadata. What may differ between them then (key,
values, body, time) has its place in the kept texts. Everything else a request depends on is compared with
what it was when the template was made; a call that differs goes the general way again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from operator import itemgetter
from typing import Any, Final, NamedTuple

from greenlang_async_storage.fastpath import _agent, _checksums, _signer
from greenlang_async_storage.fastpath._body import THREAD_FROM, Outgoing
from greenlang_async_storage.fastpath._endpoint import Target
from greenlang_async_storage.fastpath._model import Convert, Operation, Place
from greenlang_async_storage.fastpath._payload import Payload
from greenlang_async_storage.fastpath._serializer import Draft, quoted_key, visible
from greenlang_async_storage.fastpath.transport._head import encode_head
from greenlang_async_storage.fastpath.transport._message import Message, repeatable
from greenlang_async_storage.fastpath.transport._upload import NOTHING, Upload, plan

_OPERATIONS: Final = frozenset({"GetObject", "HeadObject", "PutObject", "DeleteObject"})
_PLACES: Final = frozenset({Place.PATH, Place.HEADER, Place.METADATA, Place.BODY})
# Sent in another form than given, or deciding about other headers.
_UNFIT: Final = frozenset({"SSECustomerKey", "SSECustomerKeyMD5", "ChecksumAlgorithm", "ContentLength"})
_UNFIT_HEADERS: Final = frozenset({"transfer-encoding", "x-amzn-trace-id"})

Form = tuple[str, str, tuple[str, ...], tuple[str, ...], bool, bool]
"""Operation, bucket, parameters, metadata; whether the body is announced by `Expect`, and left unsigned."""


class Learnt(NamedTuple):
    """One call that went the general way."""

    operation: Operation
    draft: Draft
    target: Target
    headers: Mapping[str, str]
    """All that is sent, `authorization` among them."""
    signed: list[str]
    """Names of the signed headers, in order."""
    keys: _signer.Keys
    has_body: bool
    algorithm: str | None
    """Of the checksum that was computed over the body into a header."""
    features: frozenset[str]
    """Named in the user agent."""
    settings: tuple[object, ...]


def form_of(name: str, parameters: dict[str, Any], expects: Callable[[int], bool]) -> Form | None:
    """
    What calls have in common that can share a template; None for a call that cannot.

    *expects* says whether a body of so many bytes is announced by `Expect`.
    """
    if name not in _OPERATIONS:
        return None
    bucket = parameters.get("Bucket")
    if type(bucket) is not str:
        return None
    announced = unsigned = False
    if "Body" in parameters:
        body = parameters["Body"]
        kind = type(body)
        if kind is bytes or (kind is Payload and type(body.data) is not bytearray):
            announced = expects(len(body))
        elif kind is not Payload:
            return None
        unsigned = kind is Payload and body.sha256_hex == Payload.UNSIGNED
    metadata = parameters.get("Metadata")
    if metadata is None:
        return name, bucket, tuple(parameters), (), announced, unsigned
    if type(metadata) is not dict or any(type(each) is not str for each in metadata):
        return None
    return name, bucket, tuple(parameters), tuple(metadata), announced, unsigned


def settings_of(config: Any) -> tuple[object, ...]:
    """What of a client's configuration, which can be changed while it is open, a request depends on."""
    signs = config.s3.get("payload_signing_enabled") if config.s3 else None
    return config.request_checksum_calculation, config.response_checksum_validation, signs


class Template:
    """The kept texts of one form: for one day, one set of credentials, one configuration."""

    __slots__ = (
        "_agent", "_algorithm", "_canonical", "_day", "_expect", "_hashes", "_head", "_in_order", "_key",
        "_keys", "_members", "_method", "_names", "_prefix", "_query", "_repeatable", "_settings", "_stamp",
        "_to_sign", "draft", "features", "has_body", "operation", "target",
    )  # fmt: skip

    def __init__(self, form: Form, learnt: Learnt) -> None:
        operation, draft, target, headers = learnt[:4]
        self.operation = operation
        self.target = target
        # Its values are those of the first call: only what was given is asked for later.
        self.draft = replace(draft, parameters=dict.fromkeys(draft.parameters), headers={}, body=None)
        self.features = learnt.features
        self.has_body = learnt.has_body
        self._keys = learnt.keys
        self._settings = learnt.settings
        self._agent = headers["user-agent"]
        self._stamp = ""
        self._day = headers["x-amz-date"][:8]
        self._method = operation.method
        self._prefix = f"{target.key_prefix}/"
        self._query = f"?{draft.query}" if draft.query else ""
        self._hashes = learnt.has_body and headers["x-amz-content-sha256"] != _signer.UNSIGNED
        self._algorithm = learnt.algorithm if learnt.has_body else None
        self._expect = "expect" in headers
        self._repeatable = repeatable(operation.method, headers)
        self._members, self._names = _members(operation, form)
        slots = self._slots()
        scope = _signer.scope(self._day, target)
        self._key = _signer.signing_key(learnt.keys.secret_key, self._day, target)
        self._to_sign = f"{_signer.ALGORITHM}\n%s\n{scope}\n%s"
        self._canonical, self._in_order = _canonical(learnt, slots)
        self._head = _head(learnt, slots)

    def _slots(self) -> list[str]:
        """The headers whose values differ between calls, in the order in which `message` finds them."""
        slots = ["x-amz-date", *(name for name, _, _ in self._members), *self._names]
        if self.has_body:
            slots.append("content-length")
        if self._algorithm is not None:
            slots.append(f"x-amz-checksum-{self._algorithm}")
        if self._hashes:
            slots.append("x-amz-content-sha256")
        return slots

    def fits(self, keys: _signer.Keys, agent: str, settings: tuple[object, ...]) -> bool:
        """Whether the texts are those of now, these credentials, this user agent and these settings."""
        stamp = _signer.clock.now()
        if stamp is not self._stamp:
            if stamp[:8] != self._day or _agent.trace_id() is not None:
                return False
            self._stamp = stamp
        return keys == self._keys and agent == self._agent and settings == self._settings

    def message(self, parameters: dict[str, Any], body: Outgoing, invocation: str) -> Message | None:
        """
        The request for *parameters*, after `fits`; None, or PassOn, when a value is not one a template can
        hold.
        """
        key = parameters["Key"]
        path = self._prefix + quoted_key(self.operation.members["Key"].convert(key) or "")
        values = [path, self._stamp]
        for _, name, convert in self._members:
            text = convert(parameters[name])
            if text is None:
                return None
            values.append(visible(text))
        if self._names:
            for text in parameters["Metadata"].values():
                if type(text) is not str:
                    return None
                values.append(visible(text))
        upload = NOTHING
        if self.has_body:
            content: Any = body.content
            upload = (
                Upload(memoryview(content))
                if type(content) is bytes
                else plan(content, body.length, chunked=False)
            )
            values.append(str(body.length))
            if self._algorithm is not None:
                values.append(_checksums.compute(self._algorithm, content))
            if self._hashes:
                values.append(body.sha256_hex or sha256(content).hexdigest())
        digest = sha256((self._canonical % self._in_order(values)).encode()).hexdigest()
        values.append(self._key.hexdigest((self._to_sign % (self._stamp, digest)).encode()))
        values.append(invocation)
        head = (self._head % tuple(values)).encode()
        return Message(self._method, path + self._query, head, upload, self._expect, self._repeatable)

    @staticmethod
    def takes(body: Outgoing) -> bool:
        """Whether *body* is one whose hash and checksum are made at once, or none."""
        return body.content is None or (0 < body.length < THREAD_FROM and not body.is_file)


def template(form: Form, learnt: Learnt) -> Template | None:
    """The template of *form*; None when requests of this form hold more than a template can."""
    operation, draft, _, headers = learnt[:4]
    names = form[2]
    if "Key" not in names or not _UNFIT.isdisjoint(names) or not _UNFIT_HEADERS.isdisjoint(headers):
        return None
    if any(operation.members[name].place not in _PLACES for name in names):
        return None
    if learnt.has_body != ("Body" in names):
        return None
    try:
        encode_head(operation.method, draft.key or "", list(headers.items()))
    except ValueError:
        return None
    made = Template(form, learnt)
    return made if headers.keys() >= set(made._slots()) else None


def _members(operation: Operation, form: Form) -> tuple[list[tuple[str, str, Convert]], list[str]]:
    """Header, parameter and conversion of each parameter that is a header; the headers of metadata."""
    members = []
    prefix = ""
    for name in form[2]:
        member = operation.members[name]
        if member.place is Place.HEADER:
            members.append((member.name, name, member.convert))
        elif member.place is Place.METADATA:
            prefix = member.name
    return members, [f"{prefix}{name}".lower() for name in form[3]]


def _canonical(learnt: Learnt, slots: list[str]) -> tuple[str, itemgetter[Any]]:
    """The canonical request with a place for each slot, and what puts the values into its order."""
    operation, draft, _, headers, signed = learnt[:5]
    # The path is the first value.
    places = {name: position for position, name in enumerate(slots, 1)}
    lines = []
    order = [0]
    for name in signed:
        if name in places:
            lines.append(f"{name}:%s")
            order.append(places[name])
        else:
            lines.append(f"{name}:{_constant(_signer.trimmed(headers[name]))}")
    payload = _constant(headers["x-amz-content-sha256"])
    if "x-amz-content-sha256" in places:
        payload = "%s"
        order.append(places["x-amz-content-sha256"])
    query = _constant(_signer.canonical_query(draft.query))
    text = "\n".join([operation.method, "%s", query, *lines, "", ";".join(signed), payload])
    return text, itemgetter(*order)


def _head(learnt: Learnt, slots: list[str]) -> str:
    """The head with a place for path, each slot, signature and invocation id, in this order."""
    operation, draft, _, headers = learnt[:4]
    query = _constant(f"?{draft.query}") if draft.query else ""
    lines = [f"{operation.method} %s{query} HTTP/1.1", *(f"{name}: %s" for name in slots)]
    changing = {*slots, "authorization", "amz-sdk-invocation-id"}
    lines += [f"{name}: {_constant(value)}" for name, value in headers.items() if name not in changing]
    authorization, _, _ = headers["authorization"].rpartition("=")
    lines += [f"authorization: {_constant(authorization)}=%s", "amz-sdk-invocation-id: %s"]
    return "\r\n".join([*lines, "", ""])


def _constant(text: str) -> str:
    return text.replace("%", "%%")
