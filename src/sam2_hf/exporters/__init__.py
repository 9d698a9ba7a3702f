"""Exporting: the network as graphs that run without this package, and what a program needs beside them."""
