"""Replaces secrets in output by `***` while it streams, also where a secret is split over two writes, in base64 at any
alignment, in hexadecimal, or escaped as JSON, URLs, HTML, shells and Python write it. Pure.

A secret becomes a set of *forms*, byte strings of at most 2 × _SEGMENT bytes: longer ones are cut into segments, so
that the memory of a Masker is bounded whatever the secrets are. The text is compared without its line breaks, since
base64(1) and xxd(1) wrap their output; a form that is no encoding does not match across a line break.

What is not recognized: a part of a secret that is no line and no token of it, compressed or encrypted output, encodings
of encodings, and secrets shorter than MIN_LENGTH, which would hide half of the log.
"""

from __future__ import annotations

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
_TOKENS = [re.compile(rb"[A-Za-z0-9+%b_.~-]{%d,}" % (more, _MIN_TOKEN)) for more in (b"", b"/", b"/=")]
_SPECIAL = re.compile(rb"([^A-Za-z0-9_@%+=:,./-])")  # characters that a shell quotes (shlex)


def is_maskable(value: bytes) -> bool:
    """Returns whether a secret is long enough to be masked; line breaks do not count, for output is looked through
    without them."""
    return len(_GAP.sub(b"", value.strip())) >= MIN_LENGTH


class SecretForms:
    """The forms of some secrets, found by their first bytes."""

    def __init__(self, values: Iterable[bytes]) -> None:
        forms: dict[bytes, bool] = {}  # form -> whether line breaks may be in it
        for value in values:
            for form, wraps in _forms(value):
                forms[form] = forms.get(form, False) or wraps
        self.by_anchor: dict[bytes, list[tuple[bytes, bool]]] = {}
        self.beginnings: dict[bytes, bool] = {}  # the first one to three bytes of forms -> whether one may wrap
        for form, wraps in sorted(forms.items(), key=lambda item: (-len(item[0]), item[0])):
            self.by_anchor.setdefault(form[:_ANCHOR], []).append((form, wraps))
            for length in range(1, _ANCHOR):
                self.beginnings[form[:length]] = self.beginnings.get(form[:length], False) or wraps
        columns = [{anchor[index] for anchor in self.by_anchor} for index in range(_ANCHOR)]
        classes = (b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(column)) + b"]" for column in columns)
        self.candidates = re.compile(b"".join(classes)) if forms else None

    def __bool__(self) -> bool:
        return bool(self.by_anchor)

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
    """One stream. `found` becomes True with the first secret."""

    def __init__(self, forms: SecretForms) -> None:
        self._forms = forms
        self._buffer = b""  # what may be the beginning of a secret
        self._shown = 0  # how many bytes of it were returned already: a line break follows too few of an encoding
        self._after_mask = False  # the last that was returned is a mask
        self.found = False

    def feed(self, data: bytes) -> bytes:
        """Returns the next part of the stream that can be shown: all but an end that may be the beginning of a secret.
        A whole line is never held back, unless it ends with 8 characters of an encoded secret or more."""
        return self._scan(data, end=False)

    def finish(self) -> bytes:
        """Returns what was held back, at the end of the stream."""
        return self._scan(b"", end=True)

    def _scan(self, data: bytes, *, end: bool) -> bytes:
        view = _Unwrapped(self._buffer + data)
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
        partial = -1
        for form, wraps in self._forms.by_anchor.get(text[start : start + _ANCHOR], ()):
            if len(form) > available:
                if not end and partial < 0 and form.startswith(text[start:]):
                    partial = view.held_from(start, wraps=wraps)
            elif text.startswith(form, start) and (wraps or not view.has_gap(start, start + len(form))):
                return len(form), partial
        return 0, partial

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
    """A piece of output, and its text without line breaks and the blanks after them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._gaps: list[int] = []  # positions in the text before which something was left out
        self._lengths: list[int] = [0]  # bytes that were left out before and at each gap
        if b"\n" not in data and b"\r" not in data:
            self.text = data
            return
        parts, before = [], 0
        for gap in _GAP.finditer(data):
            parts.append(data[before : gap.start()])
            before = gap.end()
            self._gaps.append(gap.start() - self._lengths[-1])
            self._lengths.append(self._lengths[-1] + gap.end() - gap.start())
        parts.append(data[before:])
        self.text = b"".join(parts)

    def offset(self, position: int) -> int:
        """Returns where a byte of the text is in the data."""
        return position + self._lengths[bisect_right(self._gaps, position)]

    def end(self, position: int) -> int:
        """As `offset`; at the end of the text, the end of the data."""
        return len(self.data) if position >= len(self.text) else self.offset(position)

    def has_gap(self, start: int, stop: int) -> bool:
        """Returns whether something was left out between two positions of the text."""
        return self.offset(stop - 1) - self.offset(start) != stop - 1 - start

    def held_from(self, start: int, *, wraps: bool) -> int:
        """Returns from where on the data cannot be shown, if its end from `start` on is the beginning of a form; -1 if
        no line break may be in that form and one is."""
        offset = self.offset(start)
        after = bisect_right(self._gaps, start)
        if after == len(self._gaps):  # no line break since
            return offset
        if not wraps or len(self.data) - offset > _MAX_HELD:
            return -1
        for gap in range(len(self._gaps) - 1, after - 1, -1):
            if self._gaps[gap] - start < _WRAPPED:
                return self._gaps[gap] + self._lengths[gap + 1]
        return offset


# ---- forms -----------------------------------------------------------------------------------------------------------


def _forms(value: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yields the forms of a secret that are long enough, each with whether line breaks may be in it."""
    if not is_maskable(value):
        return
    whole = value.strip()
    has_lines = _GAP.search(whole) is not None
    units = dict.fromkeys([] if has_lines else [whole])
    for text in (whole, *_json_strings(whole)):
        for line in text.splitlines():
            units.update(dict.fromkeys([line.strip()] if _is_distinct(line.strip()) else []))
            tokens = (token for pattern in _TOKENS for token in pattern.findall(line))
            units.update(dict.fromkeys(filter(_is_token, tokens)))
    if has_lines:  # short lines are masked where all of it stands
        yield from _segments(_GAP.sub(b"", whole), wraps=True)
        for encoding in _encodings(value):
            yield from _segments(encoding, wraps=True)
    for unit in units:
        for form in dict.fromkeys((unit, *_escapes(unit))):
            yield from _segments(form, wraps=False)
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


_JSON_SPECIALS = (rb"[<>&]", rb"[<>&'=]")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def _escapes(value: bytes) -> Iterator[bytes]:
    """Yields a line of a secret as other programs write it."""
    if not _SPECIAL.search(value) and not any(byte in value for byte in b"%+=:,/@"):
        return
    import html
    import json
    from urllib.parse import quote

    text = value.decode("utf-8", "surrogateescape")
    for ascii_only in (True, False):
        written = json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode("utf-8", "surrogateescape")
        yield written
        yield written.replace(b"/", b"\\/")  # PHP
        for special in _JSON_SPECIALS:  # Go; with an apostrophe, Java and Ruby
            yield re.sub(special, lambda match: b"\\u%04x" % ord(match[0]), written)
    for literal in (repr(text), ascii(text), repr(value)[1:]):
        yield literal[1:-1].encode("utf-8", "backslashreplace")
    yield re.sub(rb"[\x80-\xff]", lambda match: b"\\%03o" % ord(match[0]), value)  # C, and names in git
    yield value.replace(b"'", b"''")  # SQL, YAML
    yield value.replace(b'"', b'""')  # CSV
    for safe in ("", "/", "/:@!$&'()*+,;="):
        quoted = quote(value, safe=safe)
        yield quoted.encode()
        yield quoted.replace("%20", "+").encode()
        yield re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), quoted).encode()
    escaped = html.escape(text)
    for old, new in (
        ("", ""),
        ("&#x27;", "&#39;"),
        ("&#x27;", "'"),
        ("&#x27;", "&apos;"),
        ("&quot;", '"'),
        ("&quot;", "&#34;"),
    ):
        yield (escaped.replace(old, new) if old else escaped).encode("utf-8", "surrogateescape")
    yield value.replace(b"'", b"'\\''")
    yield value.replace(b"'", b"'\"'\"'")
    yield _SPECIAL.sub(rb"\\\1", value)
    yield re.sub(rb'([$`"\\])', rb"\\\1", value)
