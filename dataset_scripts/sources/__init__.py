"""Where reports and images come from, each as a source of one interface.

`base` says what a source is; `splits`, `tables`, `images` and `nifti_headers` help several; `registry` lists
them all: `open_i` (with `open_i_mesh`), `mimic/`, `ctrate/` and `phantoms/`.
"""
