"""The sync job between tenant and directory, in the place of Entra Connect.

Rules
  1. Users and computers' certificates go up, keys and device objects go down. The directory is the
     authority over who there is, the tenant over which keys and devices are registered.
  2. Nothing goes up unless the directory was read to its end: one that is in trouble changes
     nothing in the tenant.
  3. What is written down is written into the journal first, by value. What the journal does not
     have is somebody else's and is never changed or removed.
  4. Each step may be done twice. After a kill at any instant the next run ends in the same state.

Source: seed flows P4 D, R3 B-D, R4 G; the rules of Entra Connect as far as they are public.
"""
