"""Tests of the partial TGTs that come with a PRT."""
