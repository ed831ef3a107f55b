"""`envtool.lock`: what every floating thing was settled to, as a value (`lock`), as text (`text`), and what two of them
differ in (`changes`). Pure: no process, socket or file.
"""
