"""The conformance kit: how a plugin proves itself. See docs/testing.md; needs the extra `pybootc[testing]`.

`bootc.testing.plugin` is the pytest plugin (`-p bootc.testing.plugin`), `suite` what all suites share, `storage`,
`fetcher` and `bootloader` the suites, `fakes` the machine and images that they work on, `trees` the normal form in
which trees are compared, and `conformance` runs a suite on an installed plugin by its name.
"""
