"""Made-up studies with a known truth: `state` and `report_writer` are shared, `cxr/` and `ct/` draw the
images, and `cxr_source` and `ct_source` offer them as sources.
"""
