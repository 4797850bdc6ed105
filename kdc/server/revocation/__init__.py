"""The companion `revocation`: CRLs and OCSP responses of other CAs, fetched ahead of need.

`process` runs it; `http_client` alone imports aiohttp, and only once there is something to fetch.
"""
