"""Collages: cut-outs on photographs, with the masks that are known because they were put together here.

`materials` reads images from a folder, `cutouts` makes objects of them, `scene` arranges objects, `compositing` draws a
frame with its masks, `photography` adds what a camera adds, and `collages` gives all this as data sets.
"""
