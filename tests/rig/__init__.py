"""The rig of real clients: peers, keys and certificates, a served realm, tshark on the wire."""
