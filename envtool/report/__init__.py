"""Events to words: the terminal, `--json`, JUnit. Every one is a subscriber to the one stream (stream.py).

    text.py       what a task printed, made safe to show; sizes and durations
    stream.py     the queue between many workers and the subscribers, who are called from one thread
    board.py      what is running now: a value that the displays keep from events
    words.py      how a piece of work reads on one line
    terminal.py   the live display; plain.py the same in plain lines; closing.py what is said at the end
    lines.py      one JSON object a line; junit.py JUnit's XML
    errors.py     how an error reads

Standard output is data, standard error is talk: all of this but lines.py writes to standard error.
"""
