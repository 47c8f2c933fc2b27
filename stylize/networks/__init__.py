"""The networks of the paper's figure: encoder, generator, discriminator, perceptual networks.

Everything here needs torch, but for the generator's plan.
"""
