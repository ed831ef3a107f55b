"""Replaces secrets in output by `***` while it streams, also where a secret is split over two writes, in base64 at any
alignment, in hexadecimal, or escaped as JSON, URLs, HTML, shells and Python write it. Pure.

A secret becomes a set of *forms*, of at most 2 × _SEGMENT characters: longer ones are cut into segments, so that the
memory of a Masker is bounded whatever the secrets are. A form is a byte string, or the spellings of each of its
characters: programs escape different characters in different ways, and each is recognized, in any mixture. The text is
compared without its line breaks, since base64(1) and xxd(1) wrap their output; a form that is no encoding does not
match across a line break.

Where control sequences (colours) stand in a secret, it is recognized without them, as readers see it.

What is not recognized: a part of a secret that is no line and no token of it, other cases, compressed or encrypted
output, encodings of encodings, escaped letters and digits, and secrets shorter than MIN_LENGTH, which would hide half
of the log.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator

MASK = b"***"
MIN_LENGTH = 6  # bytes: a shorter secret, line or encoding is not masked
_SEGMENT = 64  # bytes
_ANCHOR = 4  # bytes of a form by which it is found
_WRAPPED = 8  # characters of an encoding before a line break that are held back until the next line shows what they are
_MAX_HELD = 4096  # bytes, with line breaks
_MIN_TOKEN = 16  # bytes of a word in a secret (a token in .npmrc or .netrc) that is masked where it stands alone
_GAP = re.compile(rb"[\r\n]+[ \t]*")
_CONTROL = re.compile(rb"\x1b|\xc2\x9b|\xc2\Z|[\x07\x08]")
# What terminals and reports do not show (ECMA-48, 5.4 and 8.3), also where the end of it has not come yet.
_GAP_OR_CONTROL = re.compile(
    rb"(?P<gap>[\r\n]+[ \t]*)"
    rb"|(?:\x1b\[|\xc2\x9b)[0-?]*[ -/]*(?:[@-~]|\Z)"
    rb"|\x1b[\]PX^_][^\x07\x1b\n]{0,1024}(?:\x07|\x1b\\|\x1b?\Z)"
    rb"|\x1b[ -/]*(?:[0-~]|\Z)"
    rb"|\xc2\Z|[\x07\x08]"
)
_TOKENS = [re.compile(rb"[A-Za-z0-9+%b_.~-]{%d,}" % (more, _MIN_TOKEN)) for more in (b"", b"/", b"/=")]
Spellings = tuple[bytes, ...]  # all ways in which programs write one character
_PLAIN = re.compile(rb"[A-Za-z0-9]*")  # what no program escapes


def is_maskable(value: bytes) -> bool:
    """Returns whether a secret is long enough to be masked; line breaks do not count, for output is looked through
    without them."""
    return len(_GAP.sub(b"", value.strip())) >= MIN_LENGTH


class SecretForms:
    """The forms of some secrets, found by their first bytes."""

    def __init__(self, values: Iterable[bytes]) -> None:
        forms: dict[bytes, bool] = {}  # form -> whether line breaks may be in it
        spelled: dict[tuple[Spellings, ...], None] = {}
        for value in values:
            for form, wraps in _forms(value):
                if isinstance(form, bytes):
                    forms[form] = forms.get(form, False) or wraps
                else:
                    spelled[form] = None
        self.by_anchor: dict[bytes, list[tuple[bytes, bool]]] = {}
        self.spelled_by_anchor: dict[bytes, _SpelledForms] = {}
        self.beginnings: dict[bytes, bool] = {}  # the first one to three bytes of forms -> whether one may wrap
        for form, wraps in sorted(forms.items(), key=lambda item: (-len(item[0]), item[0])):
            self.by_anchor.setdefault(form[:_ANCHOR], []).append((form, wraps))
            for length in range(1, _ANCHOR):
                self.beginnings[form[:length]] = self.beginnings.get(form[:length], False) or wraps
        for steps in spelled:
            for anchor in _anchors(steps):
                self.spelled_by_anchor.setdefault(anchor, _SpelledForms([], 0)).forms.append(steps)
        for anchor in self.spelled_by_anchor:
            for length in range(1, _ANCHOR):
                self.beginnings.setdefault(anchor[:length], False)
        anchors = [*self.by_anchor, *self.spelled_by_anchor]
        columns = [{anchor[index] for anchor in anchors} for index in range(_ANCHOR)]
        classes = (b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(column)) + b"]" for column in columns)
        self.candidates = re.compile(b"".join(classes)) if anchors else None

    def __bool__(self) -> bool:
        return self.candidates is not None

    def masker(self) -> Masker:
        """Returns what masks one stream."""
        return Masker(self)

    def mask(self, data: bytes) -> bytes:
        """Returns a whole text with its secrets replaced."""
        masker = Masker(self)
        return masker.feed(data) + masker.finish()

    def are_in(self, data: bytes) -> bool:
        """Returns whether a whole text contains a secret."""
        masker = Masker(self)
        masker.feed(data)
        masker.finish()
        return masker.found


class Masker:
    """One stream. `found` becomes True with the first secret.

    What is shown is searched a second time where it has colours or other control sequences, without these: programs
    colour parts of a line, and what shows it leaves them out."""

    def __init__(self, forms: SecretForms, *, leaves_out_controls: bool = False) -> None:
        self._forms = forms
        self._buffer = b""  # what may be the beginning of a secret
        self._shown = 0  # how many bytes of it were returned already: a line break follows too few of an encoding
        self._after_mask = False  # the last that was returned is a mask
        self._leaves_out_controls = leaves_out_controls
        self._second = None if leaves_out_controls else Masker(forms, leaves_out_controls=True)
        self.found = False

    def feed(self, data: bytes) -> bytes:
        """Returns the next part of the stream that can be shown: all but an end that may be the beginning of a secret.
        A whole line is never held back, unless it ends with 8 characters of an encoded secret or more."""
        return self._search_again(self._scan(data, end=False), end=False)

    def finish(self) -> bytes:
        """Returns what was held back, at the end of the stream."""
        return self._search_again(self._scan(b"", end=True), end=True)

    def _search_again(self, shown: bytes, *, end: bool) -> bytes:
        second = self._second
        if second is None or not (second._buffer or _CONTROL.search(shown)):  # noqa: SLF001
            return shown
        shown = second._scan(shown, end=end)  # noqa: SLF001
        self.found |= second.found
        return shown

    def _scan(self, data: bytes, *, end: bool) -> bytes:
        view = _Unwrapped(self._buffer + data, _GAP_OR_CONTROL if self._leaves_out_controls else _GAP)
        output: list[bytes] = []
        masked = 0  # the end of the last form, in the text
        kept = held = len(view.data)  # where the buffer begins afterwards, and where what is not shown does
        for start in self._candidates(view):
            if held < len(view.data) and view.offset(start) >= held:
                break
            length, partial = self._match(view, start, end=end or kept < len(view.data))
            if partial >= 0:
                kept, held = view.offset(start), partial
            if length and start + length > masked:  # forms may overlap
                stop = view.offset(start + length - 1) + 1
                if stop <= held:
                    self._emit(output, view.data, view.offset(start))
                    masked = start + length
                    self._emit_mask(output, stop)
        self._emit(output, view.data, held)
        self._buffer = view.data[kept:]
        self._shown = max(0, self._shown - kept)
        return b"".join(output)

    def _candidates(self, view: _Unwrapped) -> Iterator[int]:
        """Yields the positions at which a form may begin, in order."""
        pattern, text, position = self._forms.candidates, view.text, 0
        if pattern is None:
            return
        while match := pattern.search(text, position):
            yield match.start()
            position = match.start() + 1
        yield from range(max(len(text) - _ANCHOR + 1, 0), len(text))

    def _match(self, view: _Unwrapped, start: int, *, end: bool) -> tuple[int, int]:
        """Returns the length of the longest form that begins at `start` (0: none); and, if a longer one may begin
        there, from where on the data cannot be shown yet, else -1."""
        text, available = view.text, len(view.text) - start
        if available < _ANCHOR:
            tail = text[start:]
            if end or tail not in self._forms.beginnings:
                return 0, -1
            return 0, view.held_from(start, wraps=self._forms.beginnings[tail])
        longest, partial = 0, -1
        anchor = text[start : start + _ANCHOR]
        for form, wraps in self._forms.by_anchor.get(anchor, ()):
            if len(form) > available:
                if not end and partial < 0 and form.startswith(text[start:]):
                    partial = view.held_from(start, wraps=wraps)
            elif text.startswith(form, start) and (wraps or not view.has_gap(start, start + len(form))):
                longest = len(form)
                break
        if (spelled := self._forms.spelled_by_anchor.get(anchor)) is not None:
            length, is_partial = spelled.match(text, start)
            if length > longest and not view.has_gap(start, start + length):
                longest = length
            if is_partial and not end:
                held = view.held_from(start, wraps=False)
                partial = held if partial < 0 else partial if held < 0 else min(partial, held)
        return longest, partial

    def _emit(self, output: list[bytes], data: bytes, stop: int) -> None:
        """Shows the data up to `stop`."""
        if stop > self._shown:
            output.append(data[self._shown : stop])
            self._shown, self._after_mask = stop, False

    def _emit_mask(self, output: list[bytes], stop: int) -> None:
        self.found = True
        if stop > self._shown:
            if not self._after_mask:
                output.append(MASK)
            self._shown, self._after_mask = stop, True


class _Unwrapped:
    """A piece of output, and its text without what `gap` matches: line breaks and the blanks after them, and perhaps
    control sequences."""

    def __init__(self, data: bytes, gap: re.Pattern[bytes]) -> None:
        self.data = data
        self._gaps: list[int] = []  # positions in the text before which something was left out
        self._lengths: list[int] = [0]  # bytes that were left out before and at each gap
        self._breaks: list[int] = []  # those gaps that are line breaks
        self._break_ends: list[int] = []  # where each of them ends in the data
        if gap is _GAP and b"\n" not in data and b"\r" not in data:
            self.text = data
            return
        parts, before = [], 0
        for match in gap.finditer(data):
            parts.append(data[before : match.start()])
            before = match.end()
            self._gaps.append(match.start() - self._lengths[-1])
            self._lengths.append(self._lengths[-1] + match.end() - match.start())
            if gap is _GAP or match["gap"]:
                self._breaks.append(self._gaps[-1])
                self._break_ends.append(before)
        parts.append(data[before:])
        self.text = b"".join(parts)

    def offset(self, position: int) -> int:
        """Returns where a byte of the text is in the data."""
        return position + self._lengths[bisect_right(self._gaps, position)]

    def end(self, position: int) -> int:
        """As `offset`; at the end of the text, the end of the data."""
        return len(self.data) if position >= len(self.text) else self.offset(position)

    def has_gap(self, start: int, stop: int) -> bool:
        """Returns whether a line break was left out between two positions of the text."""
        return bisect_right(self._breaks, start) != bisect_right(self._breaks, stop - 1)

    def held_from(self, start: int, *, wraps: bool) -> int:
        """Returns from where on the data cannot be shown, if its end from `start` on is the beginning of a form; -1 if
        no line break may be in that form and one is, or if too much would be held."""
        offset = self.offset(start)
        if len(self.data) - offset > _MAX_HELD:
            return -1
        after = bisect_right(self._breaks, start)
        if after == len(self._breaks):  # no line break since
            return offset
        if not wraps:
            return -1
        for index in range(len(self._breaks) - 1, after - 1, -1):
            if self._breaks[index] - start < _WRAPPED:
                return self._break_ends[index]
        return offset


# ---- forms -----------------------------------------------------------------------------------------------------------


def _forms(value: bytes) -> Iterator[tuple[bytes | tuple[Spellings, ...], bool]]:
    """Yields the forms of a secret that are long enough, each with whether line breaks may be in it."""
    if not is_maskable(value):
        return
    whole = value.strip()
    has_lines = _GAP.search(whole) is not None
    units = dict.fromkeys([] if has_lines else [whole])
    for text in dict.fromkeys((whole, *(_echoed(whole, escapes) for escapes in _ESCAPES), *_json_strings(whole))):
        for line in text.splitlines():
            units.update(dict.fromkeys([line.strip()] if _is_distinct(line.strip()) else []))
            tokens = (token for pattern in _TOKENS for token in pattern.findall(line))
            units.update(dict.fromkeys(filter(_is_token, tokens)))
    if has_lines:  # short lines are masked where all of it stands
        yield from _segments(_GAP.sub(b"", whole), wraps=True)
        for encoding in _encodings(value):
            yield from _segments(encoding, wraps=True)
    for unit in units:
        yield from _segments(unit, wraps=False) if _PLAIN.fullmatch(unit) else _spelled(unit)
        for encoding in _encodings(unit):
            yield from _segments(encoding, wraps=True)


def _is_distinct(line: bytes) -> bool:
    """Returns whether a line is not only a row of dashes, blanks or the like, which other output has too."""
    return len(line) >= MIN_LENGTH and len({*line}) >= 4


def _is_token(word: bytes) -> bool:
    return any(48 <= byte < 58 for byte in word) and any(chr(byte).isalpha() for byte in word) and len({*word}) >= 6


def _segments(form: bytes, *, wraps: bool) -> Iterator[tuple[bytes, bool]]:
    if len(form) < MIN_LENGTH:
        return
    if len(form) < 2 * _SEGMENT:
        yield form, wraps
        return
    count = len(form) // _SEGMENT
    for number in range(count):
        stop = len(form) if number == count - 1 else (number + 1) * _SEGMENT
        segment = form[number * _SEGMENT : stop]
        if _is_distinct(segment):
            yield segment, wraps


def _json_strings(value: bytes) -> list[bytes]:
    """Returns the texts in a secret that is a JSON object, such as the key of a service account."""
    if not value.startswith(b"{"):
        return []
    import json

    try:
        pending, texts = [json.loads(value)], list[bytes]()
    except (ValueError, RecursionError):
        return []
    while pending:
        item = pending.pop()
        if isinstance(item, dict | list):
            pending += item.values() if isinstance(item, dict) else item
        elif isinstance(item, str) and len(item) >= _MIN_TOKEN:
            texts.append(item.encode("utf-8", "surrogatepass"))
    return texts


def _echoed(value: bytes, escapes: re.Pattern[bytes]) -> bytes:
    """Returns what `echo` of dash and busybox, or `printf "$X"`, prints of a secret: its backslashes begin escapes."""
    parts, position = list[bytes](), 0
    for match in escapes.finditer(value):
        parts.append(value[position : match.start()])
        position = match.end()
        if match[0] == rb"\c":  # nothing more is printed
            position = len(value)
            break
        parts.append(bytes([int(match[2], 8) & 255]) if match[2] else _ECHOED[match[1]])
    return b"".join([*parts, value[position:]]).strip()


_ESCAPES = [re.compile(rb"\\(?:([abfnrtv\\])|c|%b([0-7]{1,3}))" % zero) for zero in (b"0?", b"")]  # echo, printf
_ECHOED = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v", b"\\": b"\\"}


def _encodings(value: bytes) -> Iterator[bytes]:
    """Yields a secret in base64 (RFC 4648, both alphabets), at each of the three alignments and without the characters
    that its neighbours decide too, and in hexadecimal."""
    import base64

    for before, skipped in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(bytes(before) + value)[skipped : (before + len(value)) * 8 // 6]
        yield encoded
        yield encoded.translate(_URL_SAFE)
    yield value.hex().encode()
    yield value.hex().upper().encode()


_URL_SAFE = bytes.maketrans(b"+/", b"-_")


# ---- spellings -------------------------------------------------------------------------------------------------------


class _SpelledForms:
    """Parts of lines of secrets, with the spellings of each character, which are alike in their first `depth`
    characters. What follows is sorted when it is first needed: a secret may have a thousand parts that begin alike."""

    def __init__(self, forms: list[tuple[Spellings, ...]], depth: int) -> None:
        self.forms = forms
        self.depth = depth

    @functools.cached_property
    def is_end(self) -> bool:
        """Whether one of them ends here."""
        return any(len(form) == self.depth for form in self.forms)

    @functools.cached_property
    def following(self) -> dict[Spellings, _SpelledForms]:
        """By the spellings of the next character."""
        following: dict[Spellings, _SpelledForms] = {}
        for form in self.forms:
            if len(form) > self.depth:
                following.setdefault(form[self.depth], _SpelledForms([], self.depth + 1)).forms.append(form)
        return following

    def match(self, text: bytes, start: int) -> tuple[int, bool]:
        """Returns the length of the longest form that begins at `start` in any spelling (0: none), and whether a longer
        text may have another one there."""
        longest, is_partial = 0, False
        pending = [(self, {start})]
        while pending:
            node, positions = pending.pop()
            if node.is_end:
                longest = max(longest, max(positions) - start)
            for spellings, following in node.following.items():
                is_partial = is_partial or any(_is_begun(spellings, text, position) for position in positions)
                if reached := _next_positions(spellings, text, positions):
                    pending.append((following, reached))
        return longest, is_partial


def _next_positions(spellings: Spellings, text: bytes, positions: set[int]) -> set[int]:
    """Returns where a character may end that begins at one of the positions."""
    begun = [position for position in positions if text.startswith(spellings, position)]
    return {position + len(form) for position in begun for form in spellings if text.startswith(form, position)}


def _is_begun(spellings: Spellings, text: bytes, position: int) -> bool:
    """Returns whether the text ends in the middle of a spelling of a character that begins at a position."""
    if len(text) - position >= _MOST:
        return False
    rest = text[position:]
    return any(len(rest) < len(form) and form.startswith(rest) for form in spellings)


def _anchors(steps: tuple[Spellings, ...]) -> set[bytes]:
    """Returns the first _ANCHOR bytes of all spellings of a form."""
    anchors, begun = set[bytes](), {b""}
    for spellings in steps:
        begun = {(before + spelling)[:_ANCHOR] for before in begun for spelling in spellings}
        anchors |= {anchor for anchor in begun if len(anchor) == _ANCHOR}
        begun -= anchors
        if not begun:
            break
    return anchors


def _spelled(line: bytes) -> Iterator[tuple[tuple[Spellings, ...], bool]]:
    """Yields a line of a secret in segments, as the spellings of each character."""
    text = line.decode("utf-8", "surrogateescape")
    count = max(1, len(text) // _SEGMENT)
    for number in range(count):
        segment = text[number * _SEGMENT : None if number == count - 1 else (number + 1) * _SEGMENT]
        if count == 1 or _is_distinct(segment.encode("utf-8", "surrogateescape")):
            yield tuple(map(_spellings, segment)), False


_MOST = 16  # bytes of a spelling
_SHORT = {  # escapes by name, and what a few programs write
    "&": ("&amp;",),
    "<": ("&lt;",),
    ">": ("&gt;",),
    '"': ("&quot;", '""'),  # HTML; CSV
    "'": ("&apos;", "''", r"'\''", "'\"'\"'", "'\"'"),  # HTML; SQL, YAML; shells: the last in a row of them (dash)
    " ": ("+",),  # forms in URLs
    "%": ("%%",),  # printf, systemd
    "$": ("$$",),  # make, compose
    "\0": (r"\0", "^@"),
    "\a": (r"\a",),
    "\b": (r"\b",),
    "\t": (r"\t",),
    "\v": (r"\v",),
    "\f": (r"\f",),
    "\x1b": (r"\e", r"\E"),
    "\x7f": ("^?",),
}
_OF_BYTES = ("%{:02x}", "%{:02X}", "={:02X}", r"\x{:02x}", r"\x{:02X}", r"\{:03o}")  # URLs, quoted-printable, C
_OF_NUMBER = (
    *(r"\u{:04x}", r"\u{:04X}", r"\U{:08x}", r"\U{:08X}", r"\x{:02x}", r"\x{:02X}"),  # JSON, Python, YAML
    *(r"\u{{{:x}}}", r"\x{{{:x}}}"),  # Rust and JavaScript, Perl
    *("&#{};", "&#{:02};", "&#{:03};", "&#x{:x};", "&#x{:X};"),  # HTML
)


@functools.lru_cache(4096)
def _spellings(character: str) -> tuple[bytes, ...]:
    """Returns all ways in which programs write a character. A lone surrogate is a byte that is no UTF-8."""
    encoded = character.encode("utf-8", "surrogateescape")
    if _PLAIN.fullmatch(encoded):
        return (encoded,)
    spellings = {character, "\\" + character, *_SHORT.get(character, ())}
    spellings |= {"".join(map(form.format, encoded)) for form in _OF_BYTES}
    numbers = {ord(character), encoded[0] if len(encoded) == 1 else ord(character)}
    spellings |= {form.format(number) for form in _OF_NUMBER for number in numbers}
    if character > "\uffff":  # JSON has two halves, as UTF-16
        high, low = 0xD7C0 + (ord(character) >> 10), 0xDC00 + (ord(character) & 0x3FF)
        spellings |= {form.format(high) + form.format(low) for form in _OF_NUMBER[:2]}
    if character < " ":
        spellings.add("^" + chr(ord(character) + 64))
    each = b"".join(b"\\%c" % byte for byte in encoded)  # Perl
    return (*{each, *(spelling.encode("utf-8", "surrogateescape") for spelling in spellings)},)
