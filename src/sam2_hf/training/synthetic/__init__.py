"""A synthetic world of textured shapes that move: endless images and clips, each drawn from its number alone.

Nothing is downloaded or stored. A clip is the same on every machine, bit for bit: random numbers come from a bit
generator whose stream NumPy guarantees, and pixels are computed with integers and with those floating-point operations
that every machine rounds in the same way.
"""
