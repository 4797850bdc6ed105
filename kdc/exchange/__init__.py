"""The exchanges of RFC 4120, by stage. Pure: time, randomness and memories come in as arguments."""
