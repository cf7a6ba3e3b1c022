"""Partial pulls: of a layer in the form zstd:chunked, only what no present image has is fetched.

A layer's table of contents (`table`) is fetched by range and verified; what of it is here (`local`, by the records of
`bootc.state.contents`) is left out, the rest is planned (`plan`, `rule`), fetched (`transfer`) into a sparse file
(`parts`), and put together with what is here to the layer's exact tar (`rebuild`, `split`), whose digest is compared
like that of any other. Whatever fails on the way leads to the whole blob (`joined`, `download`). What it will cost can
be told before (`predicting`).
"""
