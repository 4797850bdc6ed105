"""What systemd is told about our state (sd_notify(3))."""

import os
import socket
import time


def sd_notify(*assignments: str) -> None:
    """Send assignments such as "READY=1" to the service manager, if one listens."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    # An "@" stands for the zero octet of Linux' abstract socket names.
    name = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect(name)
            sock.send("\n".join(assignments).encode())
    except OSError:
        return  # Nobody listens: a server is not to fail over that.


def reloading() -> None:
    """Say that a reload begins; the time is required by Type=notify-reload."""
    sd_notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
