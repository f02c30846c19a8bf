"""How fast one token and one address may report: token buckets of bounded number.

A bucket is kept as one number, the time at which it will be full again (the generic cell rate algorithm, ITU-T I.371):
nothing has to be refilled while nobody looks.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

BUCKETS_MAX = 100_000
"""Buckets kept of each kind, some 150 bytes each. The one not asked for longest goes first, and it is full by then
unless somebody asks with a hundred thousand keys at once; that somebody has one address, whose bucket stays busy."""

IPV6_NETWORK_BITS = 64
"""What one subscriber has: whoever has one address of IPv6 has all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketRate:
    """So many a second on the long run (0: no limit), and so many at once."""

    per_s_max: float
    burst_max: int


class Buckets:
    """A bucket a key. Any thread may ask."""

    def __init__(
        self, pace: BucketRate, *, now: Callable[[], float] = time.monotonic, buckets_max: int = BUCKETS_MAX
    ) -> None:
        self._pace = pace
        self._now = now
        self._buckets_max = buckets_max
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str, count: int = 1) -> float:
        """Take so many out of a key's bucket: 0, or the seconds until they are there again (and none was taken)."""
        if self._pace.per_s_max == 0:
            return 0.0
        interval_s = 1 / self._pace.per_s_max
        now = self._now()
        with self._lock:
            full_at = max(self._full_at.get(key, now), now)
            wait_s = full_at + (count - self._pace.burst_max) * interval_s - now
            # What an addition of floats leaves behind is no reason to send anybody away.
            if wait_s > 1e-9:
                return wait_s
            self._full_at[key] = full_at + count * interval_s
            self._full_at.move_to_end(key)
            if len(self._full_at) > self._buckets_max:
                self._full_at.popitem(last=False)
        return 0.0

    def give_back(self, key: str, count: int) -> None:
        """Put back what was taken for nothing."""
        with self._lock:
            if key in self._full_at and self._pace.per_s_max:
                self._full_at[key] -= count / self._pace.per_s_max

    def __len__(self) -> int:
        return len(self._full_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """The limits of the recording routes: reports of a token and of an address, and impressions of a token."""

    tokens: Buckets
    addresses: Buckets
    impressions: Buckets = field(default_factory=lambda: Buckets(BucketRate(per_s_max=0, burst_max=1)))
    proxies: TrustedProxies = field(default_factory=lambda: TrustedProxies(""))

    def wait_s(self, token: str, address: str) -> int:
        """Whole seconds until a report may come again; 0: it may come now.

        Both are asked whether or not the token exists, and before anybody looks for it.
        """
        waits_s = self.addresses.take(subscriber(address)) or self.tokens.take(_digest(token))
        return math.ceil(waits_s)

    def count_wait_s(self, token: str, count: int) -> int:
        """Whole seconds until so many impressions may be reported; 0: they are counted now."""
        return math.ceil(self.impressions.take(_digest(token), count))

    def uncount(self, token: str, count: int) -> None:
        """They were refused, or had been counted before."""
        self.impressions.give_back(_digest(token), count)


class TrustedProxies:
    """Who is believed about whom a request comes from: networks as ``10.0.0.0/8, 192.0.2.7``."""

    def __init__(self, networks: str) -> None:
        parts = filter(None, (part.strip() for part in networks.split(",")))
        self._networks = tuple(ipaddress.ip_network(part) for part in parts)

    def client(self, peer: str, forwarded_for: str | None) -> str:
        """The nearest address that is no trusted proxy: from the peer back through ``X-Forwarded-For``.

        Each trusted proxy vouches only for the entry that it appended, so the header is read from its end. An entry
        that is no address ends the search at whoever passed it on.
        """
        if not self._networks or forwarded_for is None:
            return peer
        address = peer
        for entry in reversed(forwarded_for.split(",")):
            if not self._trusts(address):
                return address
            try:
                address = str(ipaddress.ip_address(entry.strip()))
            except ValueError:
                return address
        return address

    def _trusts(self, address: str) -> bool:
        try:
            parsed = _unmapped(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


def subscriber(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 network of an IPv6 one; anything else as it is."""
    if ":" not in address:
        return address
    try:
        parsed = _unmapped(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(ipaddress.ip_network((int(parsed), IPV6_NETWORK_BITS), strict=False))


def _unmapped(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    parsed = ipaddress.ip_address(address)
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _digest(token: str) -> str:
    """A token is a secret: not even this table keeps it in clear, and every entry has one size."""
    return hashlib.blake2b(token.encode(), digest_size=12).hexdigest()
