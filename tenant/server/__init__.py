"""The listeners: HTTPS and CONNECT, within bounds. Only they know aiohttp."""
