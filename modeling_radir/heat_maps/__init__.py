"""Where in an image its likeness comes from: `integrated_gradients` computes, `overlays` lays it over the
image, `draw` does both for an image file.
"""
