"""Owns by which address a message leaves: of its pool, of the default pool, or of those that all customers share.

Leaves the pools themselves to the operations on them. SES guide, "Dedicated IP addresses": while an address warms up, what
is too much for it leaves by the shared ones; a managed pool has its first address after hundreds of messages over several
days, then warms it provider by provider. Amazon gives no figures for that: here they are those of a standard address.
"""

from tenantry.emulator.operations_pools import SHARED_POOL, PoolOperations, warmed
from tenantry.emulator.records import ConfigurationSet, Pool, Warmth
from tenantry.emulator.vdm import isp_of

SHARED_IP = "192.0.2.1"
DAY_SECONDS = 86_400.0
FIRST_IP_AFTER = 300  # recipients,
FIRST_IP_DAYS = 3  # on so many days
WARMUP_DAYS = 45
WARM_A_DAY = 50_000
PROVIDERS_MAX = 10_000


class OutgoingOperations(PoolOperations):
    """Choose addresses."""

    def outgoing_ip(self, found: ConfigurationSet | None, recipients: list[str], now: float) -> str:
        """Return the address by which a message leaves, and count it where a pool warms up."""
        name = found.options.get("DeliveryOptions", {}).get("SendingPoolName") if found else None
        if name == SHARED_POOL:
            return SHARED_IP
        pool = (self.pools.get(name) if name else None) or self.default_pool
        if pool.scaling_mode == "MANAGED":
            return self._managed(pool, recipients, now)
        if not pool.ips:
            return SHARED_IP
        ip = self.ips[pool.ips[0] if len(pool.ips) == 1 else self.random.choice(pool.ips)]
        share = warmed(ip, now)
        return ip.ip if share >= 100 or self.random.random() * 100 < share else SHARED_IP

    def _managed(self, pool: Pool, recipients: list[str], now: float) -> str:
        day = int(now // DAY_SECONDS)
        if not pool.ips:
            pool.asked += len(recipients)
            pool.days.add(day)
            if pool.asked < FIRST_IP_AFTER or len(pool.days) < FIRST_IP_DAYS:
                return SHARED_IP
            self.lease_ips(1, pool.name)
        return pool.ips[0] if takes(pool, recipients, day) else SHARED_IP


def takes(pool: Pool, recipients: list[str], day: int) -> bool:
    """Does the pool's address take a message today, by how far it is warmed at the first recipient's provider?"""
    provider = isp_of(recipients[0])
    warmth = pool.providers.get(provider)
    if warmth is None:
        if len(pool.providers) >= PROVIDERS_MAX:
            return False
        warmth = pool.providers[provider] = Warmth(day, day)
    if warmth.day != day:
        warmth.day, warmth.taken = day, 0
    allowed = WARM_A_DAY * min(1.0, (day - warmth.first_day + 1) / WARMUP_DAYS)
    if warmth.taken + len(recipients) > allowed:
        return False
    warmth.taken += len(recipients)
    return True
