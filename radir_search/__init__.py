"""Search: images become an index, and one image is answered with its nearest, as far as an anatomy goes.

In the order of use: `image_files` lists the images below a folder, `features` embeds them, `build_index`
writes what comes of it, `index` is the folder and the exact search in it, `query` asks it with one image.
"""
