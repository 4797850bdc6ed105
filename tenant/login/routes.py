"""The paths of this part and who answers them."""

from typing import Final

from tenant.http.message import Route

ROUTES: Final[tuple[Route, ...]] = ()
