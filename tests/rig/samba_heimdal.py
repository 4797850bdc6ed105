"""Drive the Heimdal client inside Samba's libraries: newer than 7.8, with all of FAST.

    python -m tests.rig.samba_heimdal PRINCIPAL CACHE ARMOR   (the password on standard input)

Heimdal 7.8's own client does not read what comes back through the tunnel. The one that Samba 4.17
carries (a snapshot of 2022) does, but no program of Samba's offers it an armor: so its library is
called here. KRB5_CONFIG names the krb5.conf.
"""

import ctypes
import sys
from ctypes import POINTER, byref, c_char_p, c_int32, c_long, c_void_p
from pathlib import Path
from typing import Any

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/samba/libkrb5-samba4.so.0")


class Heimdal:
    """The library, and one context."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(str(LIBRARY))
        self.context = c_void_p()
        self.call("krb5_init_context", (POINTER(c_void_p),), byref(self.context))

    def call(self, name: str, types: tuple[Any, ...], *arguments: Any) -> None:
        """Call a function that returns a krb5_error_code; end the program when it fails."""
        function = getattr(self._library, name)
        function.argtypes, function.restype = types, c_int32
        code = function(*arguments)
        if code:
            message = self._library.krb5_get_error_message
            message.argtypes, message.restype = (c_void_p, c_int32), c_char_p
            sys.exit(f"{name}: {code}: {message(self.context, code).decode()}")

    def make(self, name: str, *arguments: Any, types: tuple[Any, ...] = (c_char_p,)) -> c_void_p:
        """Call a function whose last argument takes what it makes."""
        made = c_void_p()
        all_types = (c_void_p, *types, POINTER(c_void_p))
        self.call(name, all_types, self.context, *arguments, byref(made))
        return made


def log_on(principal: str, cache: str, armor: str, password: str) -> None:
    """Get a TGT by password inside FAST, and write it to a file."""
    heimdal = Heimdal()
    client = heimdal.make("krb5_parse_name", principal.encode())
    types = (c_void_p, c_void_p, c_void_p, c_long, c_void_p)
    creds = heimdal.make("krb5_init_creds_init", client, None, None, 0, None, types=types)
    two = (c_void_p, c_void_p, c_void_p)
    context = heimdal.context
    heimdal.call(
        "krb5_init_creds_set_password",
        (c_void_p, c_void_p, c_char_p),
        context,
        creds,
        password.encode(),
    )
    armor_cache = heimdal.make("krb5_cc_resolve", f"FILE:{armor}".encode())
    heimdal.call("krb5_init_creds_set_fast_ccache", two, context, creds, armor_cache)
    heimdal.call("krb5_init_creds_get", two[:2], context, creds)
    kept = heimdal.make("krb5_cc_resolve", f"FILE:{cache}".encode())
    heimdal.call("krb5_cc_initialize", two, context, kept, client)
    heimdal.call("krb5_init_creds_store", two, context, creds, kept)


if __name__ == "__main__":
    log_on(sys.argv[1], sys.argv[2], sys.argv[3], sys.stdin.readline().rstrip("\n"))
