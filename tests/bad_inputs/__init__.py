"""Bad inputs: hundreds of things that cannot be right, given to every reader and option, each refused in one message.

``python -m tests.bad_inputs`` tries all of them and says how many of which kind; the fast tests try a part.
"""
