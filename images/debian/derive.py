#!/usr/bin/python3
"""Adds an image to an OCI layout: one that is there already, with one more layer and more labels."""

import argparse
from pathlib import Path

import oci


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("layout", type=Path)
    parser.add_argument("base", help="the tag to start from")
    parser.add_argument("tag", help="the tag to write")
    parser.add_argument("tree", type=Path, help="the new layer's files; .wh.NAME removes NAME")
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    labels = dict(label.split("=", 1) for label in given.label)
    print(oci.Layout(given.layout).derive(given.base, given.tag, given.tree, labels)["digest"])


if __name__ == "__main__":
    main()
