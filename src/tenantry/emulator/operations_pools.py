"""Owns the operations on dedicated IP pools, their addresses, and their warm-up.

Leaves which of them a message leaves by to `operations.outgoing`.
"""

import re

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.coverage import partly
from tenantry.emulator.errors import SesError, already_exists, bad_request, not_found
from tenantry.emulator.records import DEFAULT_POOL, DedicatedIp, Pool
from tenantry.emulator.state import State, tags_of

_NAME = re.compile(r"[a-z0-9_-]{1,64}")
POOLS_MAX = 50
IPS_OF_A_NEW_POOL = 2  # real ones are leased by a support case; here they come warmed, so that mail can leave at once
IPS_MAX = 512 * 256
SHARED_POOL = "ses-shared-pool"
WARMUP_SECONDS = 45 * 86_400.0


class PoolOperations(State):
    """Create, read and delete dedicated IP pools; move and warm addresses."""

    @partly("a standard pool comes with two warmed addresses, a managed one gets one and no more")
    def create_dedicated_ip_pool(self, params: Params, call: Call) -> Result:
        name, mode = params["PoolName"], params.get("ScalingMode", "STANDARD")
        if not _NAME.fullmatch(name):
            raise bad_request(
                f"Invalid pool name <{name}>: 1 to 64 lower-case letters, digits, '_' and '-' are allowed."
            )
        if name in self.pools or name in (DEFAULT_POOL, SHARED_POOL):
            raise already_exists(f"Dedicated IP pool <{name}> already exists.")
        if len(self.pools) >= POOLS_MAX:
            raise SesError("LimitExceededException", f"There are {POOLS_MAX} dedicated IP pools already.")
        self.pools[name] = Pool(name, self.options.arn("dedicated-ip-pool", name), mode, tags_of(params))
        if mode == "STANDARD":
            self.lease_ips(IPS_OF_A_NEW_POOL, name)
        return None

    def get_dedicated_ip_pool(self, params: Params, call: Call) -> Result:
        found = self.pool(params["PoolName"])
        return {"DedicatedIpPool": {"PoolName": found.name, "ScalingMode": found.scaling_mode}}

    def list_dedicated_ip_pools(self, params: Params, call: Call) -> Result:
        shown, token = self.pools.page_of_names(params)
        return {"DedicatedIpPools": shown, "NextToken": token}

    def delete_dedicated_ip_pool(self, params: Params, call: Call) -> Result:
        found = self.pool(params["PoolName"])
        users = [each.name for each in self.sets.values() if _uses(each.options, found.name)]
        if users:
            raise bad_request(f"Pool <{found.name}> is used by configuration sets [{', '.join(users)}].")
        for ip in found.ips:
            if found.scaling_mode == "STANDARD":
                self.ips[ip].pool = None  # it stays leased
                self.default_pool.ips.append(ip)
            else:
                del self.ips[ip]
        del self.pools[found.name]
        return None

    def put_dedicated_ip_pool_scaling_attributes(self, params: Params, call: Call) -> Result:
        found, mode = self.pool(params["PoolName"]), params["ScalingMode"]
        if mode == "STANDARD" and found.scaling_mode == "MANAGED":
            raise bad_request(f"Pool <{found.name}> is managed, which cannot be undone.")
        found.scaling_mode = mode
        return None

    def get_dedicated_ip(self, params: Params, call: Call) -> Result:
        return {"DedicatedIp": self._shown(self._ip(params["Ip"]), call)}

    def get_dedicated_ips(self, params: Params, call: Call) -> Result:
        wanted = params.get("PoolName")
        if wanted and wanted != DEFAULT_POOL:
            self.pool(wanted)
        shown, token = self.ips.page(params, lambda each: wanted in (None, each.pool or DEFAULT_POOL))
        return {"DedicatedIps": [self._shown(each, call) for each in shown], "NextToken": token}

    def put_dedicated_ip_in_pool(self, params: Params, call: Call) -> Result:
        found, name = self._ip(params["Ip"]), params["DestinationPoolName"]
        target = None if name == DEFAULT_POOL else self.pool(name)
        source = self.pools.get(found.pool or "")
        if "MANAGED" in (target and target.scaling_mode, source and source.scaling_mode):
            raise bad_request("Addresses of a managed pool cannot be moved.")
        (source or self.default_pool).ips.remove(found.ip)
        (target or self.default_pool).ips.append(found.ip)
        found.pool = target.name if target else None
        return None

    def put_dedicated_ip_warmup_attributes(self, params: Params, call: Call) -> Result:
        found, percentage = self._ip(params["Ip"]), params["WarmupPercentage"]
        if not 0 <= percentage <= 100:
            raise bad_request("WarmupPercentage must lie between 0 and 100.")
        if self._is_managed(found):
            raise bad_request("An address of a managed pool is warmed by SES.")
        auto = self.profile.auto_warmup and percentage < 100
        found.percentage, found.warming_since = percentage, call.now if auto else None
        return None

    def put_account_dedicated_ip_warmup_attributes(self, params: Params, call: Call) -> Result:
        self.profile.auto_warmup = params.get("AutoWarmupEnabled", False)
        for each in self.ips.values():
            percentage = warmed(each, call.now)
            each.percentage = percentage
            each.warming_since = call.now if self.profile.auto_warmup and 0 <= percentage < 100 else None
        return None

    def lease_ips(self, number: int, pool: str | None = None, *, cold_at: float | None = None) -> list[str]:
        """Lease addresses, as a support case does, into a pool (None: into none); cold ones warm up from then."""
        leased = []
        for _ in range(number):
            count = next(self.ip_numbers)
            if count >= IPS_MAX:
                raise SesError("LimitExceededException", f"There are {IPS_MAX} dedicated addresses already.")
            # 198.18.0.0/15 is set aside for tests (RFC 2544), so no address here is anybody's.
            ip = f"198.{18 + count // 65_536}.{count // 256 % 256}.{count % 256}"
            warming_since = cold_at if self.profile.auto_warmup else None
            self.ips[ip] = DedicatedIp(ip, pool, 100 if cold_at is None else 0, warming_since)
            leased.append(ip)
        (self.pool(pool) if pool else self.default_pool).ips.extend(leased)
        return leased

    def _ip(self, ip: str) -> DedicatedIp:
        if found := self.ips.get(ip):
            return found
        raise not_found(f"Dedicated IP <{ip}> does not exist.")

    def _is_managed(self, ip: DedicatedIp) -> bool:
        pool = self.pools.get(ip.pool or "")
        return pool is not None and pool.scaling_mode == "MANAGED"

    def _shown(self, ip: DedicatedIp, call: Call) -> dict[str, str | int]:
        percentage = -1 if self._is_managed(ip) else warmed(ip, call.now)
        status = "NOT_APPLICABLE" if percentage < 0 else "DONE" if percentage >= 100 else "IN_PROGRESS"
        return {
            "Ip": ip.ip,
            "WarmupStatus": status,
            "WarmupPercentage": percentage,
            "PoolName": ip.pool or DEFAULT_POOL,
        }


def warmed(ip: DedicatedIp, now: float) -> int:
    """Return how far an address is warmed: by itself over 45 days where that is on (SES guide: warming up)."""
    if ip.warming_since is None:
        return ip.percentage
    share = (now - ip.warming_since) / WARMUP_SECONDS
    return min(100, ip.percentage + int(share * 100))


def _uses(options: dict[str, dict[str, str]], pool: str) -> bool:
    return options.get("DeliveryOptions", {}).get("SendingPoolName") == pool
