"""Masks after the network: run lengths, boxes, components, post-processing, drawing."""
