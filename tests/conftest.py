"""Names of parametrized tests hold nothing that changes from process to process.

Workers that run the tests side by side must collect the same names, so bytes that are no text (a compressed file
holds the second of its making) are named after their argument, not after their value.
"""


def pytest_make_parametrize_id(config, val, argname):
    return argname if isinstance(val, bytes) and not val.isascii() else None
