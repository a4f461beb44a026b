"""Commands run in this process freeze what was loaded, after which Hypothesis cannot be imported.

It looks up who refers to other packages' generators, and does not find them among frozen objects.
"""

import hypothesis  # noqa: F401
