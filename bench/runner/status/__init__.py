"""Owns nothing but the package: what a results folder says of the work in it. Reads only; see overview and show."""
