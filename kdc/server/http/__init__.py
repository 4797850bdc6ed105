"""The HTTP process: probes, metrics, and Kerberos over HTTPS. Only it imports aiohttp."""
