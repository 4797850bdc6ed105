"""Tests of what decoders do with any bytes: a value or their own error, within bounds."""
