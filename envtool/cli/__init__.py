"""The command line: one file a verb, imported when it is called. Only this room knows exit statuses.

    main.py        from argv to an exit status: the group of verbs, errors, signals, pipes
    options.py     what every verb understands, and how help is laid out
    door.py        how verbs reach the app, the store and the probe (one place for tests to put a fake)
    screen.py      what the standard streams can show, and the display that suits them
    running.py     what test, build and run share;  inside.py  what exec and shell share
    fast.py        the short way for a warm `exec`, which imports none of the others

Nothing but click is imported before a verb is known: a test holds the set (tests/cli/test_imports.py).
"""
