"""Rules for endpoint URLs: what may be configured, what must not be reached by accident; pure functions."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
# Instance metadata answers with credentials: a mistyped or injected endpoint must not get there.
_METADATA_HOSTS = frozenset(
    {"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"}
)
_METADATA_NETWORKS = tuple(
    ip_network(network)
    for network in (
        "169.254.0.0/16",  # IPv4 link-local: EC2, ECS, Azure, Google
        "fe80::/10",
        "fd00:ec2::/32",  # EC2 over IPv6
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's wire server
        "192.0.0.192",  # Oracle
    )
)
_NAT64 = ip_network("64:ff9b::/96")


def endpoint_fault(url: str) -> str | None:
    """What is wrong with the form of *url* as an endpoint, or `None`: it must be `http(s)://host[:port]`."""
    if re.search(r"[^\x21-\x7e]", url):
        return "must hold no blanks, control or non-ASCII characters"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "has a host or port that cannot be read; write it as http://host:9000"
    if parts.scheme not in {"http", "https"}:
        return "must begin with http:// or https://"
    if "@" in parts.netloc:
        return "must not hold a user name or password; use AWS_PROFILE or AWS_ACCESS_KEY_ID for credentials"
    if parts.path not in {"", "/"} or parts.query or parts.fragment or url.endswith(("?", "#")):
        return "must end after the host and port, without path, query or fragment"
    if port == 0:
        return "must have a port of 1 to 65535"
    return _host_fault(parts)


def is_metadata_endpoint(url: str) -> bool:
    """Whether *url* names a link-local or instance metadata address; host names are not resolved."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    if host in _METADATA_HOSTS:
        return True
    return is_metadata_address(host)


def is_metadata_address(host: str) -> bool:
    """Whether *host* is an IP address that is link-local or hands out instance metadata."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return any(form in network for form in _embedded(address) for network in _METADATA_NETWORKS)


def is_loopback_endpoint(url: str) -> bool:
    """Whether *url* stays on this machine: `localhost`, a name below it, 127.0.0.0/8 or ::1."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return any(form.is_loopback for form in _embedded(ip_address(host)))
    except ValueError:
        return False


def redacted_endpoint(url: str) -> str:
    """*url* without what may be secret in it: user, password, query and fragment."""
    return re.sub(r"[?#].*", "?***", re.sub(r"//.*@", "//***@", url, flags=re.DOTALL), flags=re.DOTALL)


def _host_fault(parts: SplitResult) -> str | None:
    host = parts.hostname or ""
    if not host:
        return "names no host"
    if ":" in host:
        try:
            IPv6Address(host)
        except ValueError:
            return "has an IPv6 address that cannot be read"
        return None
    if not _HOST_NAME.fullmatch(host):
        return "has a host that is no host name"
    try:
        IPv4Address(host)
    except ValueError:
        # 2852039166, 0xa9fea9fe and 169.254.43518 all reach 169.254.169.254: they only serve to hide it.
        if _is_other_ipv4_spelling(host):
            return "must write an IPv4 address as four decimal numbers"
    return None


def _is_other_ipv4_spelling(host: str) -> bool:
    try:
        socket.inet_aton(host.rstrip("."))
    except OSError:
        return False
    return True


def _embedded(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """The address and the IPv4 address a router may make of it (mapped, 6to4, NAT64)."""
    forms = [address]
    if isinstance(address, IPv6Address):
        forms += [inner for inner in (address.ipv4_mapped, address.sixtofour) if inner is not None]
        if address in _NAT64:
            forms.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return forms
