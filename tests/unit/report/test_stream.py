from __future__ import annotations

import threading
import time

from envtool.events import Output, Progress
from envtool.report.stream import BACKLOG, EventStream


class Recorder:
    def __init__(self):
        self.events = []
        self.threads = set()
        self.ticks = 0

    def event(self, event):
        self.threads.add(threading.get_ident())
        self.events.append(event)

    def tick(self, now):
        self.threads.add(threading.get_ident())
        self.ticks += 1
        return False


class Broken(Recorder):
    def event(self, event):
        super().event(event)
        raise ValueError("no room")


class Mover(Recorder):
    def tick(self, now):
        super().tick(now)
        return True


def test_many_threads_one_caller_nothing_lost_order_kept():
    seen = Recorder()
    with EventStream([seen], print) as stream:

        def work(name):
            for number in range(200):
                stream.emit(Progress(id=name, done=number))

        workers = [threading.Thread(target=work, args=(str(number),)) for number in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(seen.events) == 1600
    assert len(seen.threads) == 1
    assert threading.get_ident() not in seen.threads
    for name in range(8):
        assert [event.done for event in seen.events if event.id == str(name)] == [*range(200)]


def test_a_broken_subscriber_is_named_once_and_the_others_go_on():
    complaints, broken, good = [], Broken(), Recorder()
    with EventStream([broken, good], complaints.append) as stream:
        for _ in range(3):
            stream.emit(Output(id="a", text="x"))
    assert len(good.events) == len(broken.events) == 3
    assert complaints == ["the broken report failed: ValueError: no room (the run goes on)"]


def test_settle_waits_for_what_was_emitted():
    seen = Recorder()
    with EventStream([seen], print) as stream:
        for number in range(50):
            stream.emit(Progress(id="a", done=number))
            stream.wait_until_handled()
            assert len(seen.events) == number + 1


def test_ticks_come_only_while_something_moves():
    still, mover = Recorder(), Mover()
    for subscriber, least, most in ((still, 1, 1), (mover, 3, 7)):
        with EventStream([subscriber], print) as stream:
            stream.emit(Progress(id="a"))
            time.sleep(0.5)
        assert least <= subscriber.ticks <= most


def test_output_waits_for_slow_subscribers_and_for_closed_ones_no_more():
    entered, go = threading.Event(), threading.Event()

    class Slow(Recorder):
        def event(self, event):
            entered.set()
            go.wait(10)
            super().event(event)

    slow = Slow()
    sent = []

    def work(stream):
        for number in range(BACKLOG * 3):
            stream.emit(Output(id="a", text=str(number)))
            sent.append(number)

    with EventStream([slow], print) as stream:
        worker = threading.Thread(target=work, args=(stream,))
        worker.start()
        entered.wait(10)
        time.sleep(0.2)
        assert len(sent) == BACKLOG
        stream.emit(Progress(id="a"))  # everything else goes on
        go.set()
        worker.join(10)
        stream.wait_until_handled()
        assert len([event for event in slow.events if isinstance(event, Output)]) == BACKLOG * 3
    work(stream)
    assert len(sent) == BACKLOG * 6
