"""report.html: `examples` chooses what is shown, `pictures`, `contact_sheets` and `plots` draw, `page`
writes.
"""
