"""Search: images become an index, and one image is answered with its nearest, for an anatomy or as a whole.

In the order of use: `image_files` lists the images below a folder, `features` reads them for the model,
`build_index` embeds them, `index` is what comes of it and the exact search in it, `index_folder` keeps it on
the disk (`index_json`: what its text files must hold), `query` asks it with one image. `model_identity` says
whether a model is the one that made an index, `sharing` who may have an index.
"""
