"""A world of textured shapes that move: images and clips without end, each drawn from its number alone.

Nothing is downloaded and nothing is stored. A clip is the same on every machine, bit for bit: all randomness is drawn
from a bit generator whose stream NumPy guarantees, and pixels are computed with integers and with those operations on
floating-point numbers that every machine rounds alike.
"""
