"""Secrets never leave a Masker, however the writes are split, and other text leaves it as it came."""

import base64
import html
import itertools
import json
import os
import random
import re
import shlex
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.fs.masking import MASK, MIN_LENGTH, Masker, SecretForms, is_maskable
from envtool.report.text import sanitize

TOKEN = b"ghp_R4nd0m$T0ken'with\"quotes\\and&<more>"
PEM = b"-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQDXa1vZ\n-----END KEY-----\n"
NPMRC = b"//registry.example/:_authToken=npm_A1b2C3d4E5f6G7h8\nalways-auth=true\n"
ACCOUNT = json.dumps({"type": "service_account", "private_key": PEM.decode(), "id": 7}).encode()
SECRETS = st.one_of(
    st.binary(min_size=MIN_LENGTH, max_size=300),
    st.text(st.characters(codec="utf-8"), min_size=8, max_size=80).map(str.encode),
    st.text("ab$'\"\\\n &%", min_size=8, max_size=60).map(str.encode),
).filter(is_maskable)
TEXTS = st.one_of(st.binary(max_size=200), st.text("ab$'\"\\\n &%=+/", max_size=200).map(str.encode))


def json_bytes(value):
    return json.dumps(value.decode()).encode()[1:-1]


def pieces(data, cuts):
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:stop] for start, stop in itertools.pairwise(places)]


def masked(values, parts):
    masker = Masker(SecretForms(values))
    return b"".join([*(masker.feed(part) for part in parts), masker.finish()])


@given(secret=SECRETS, before=TEXTS, after=TEXTS, cuts=st.lists(st.integers(0, 10000), max_size=8))
def test_no_split_of_writes_lets_a_secret_through(secret, before, after, cuts):
    shown = masked([secret], pieces(before + secret + after, cuts))
    assert secret.strip() not in shown or secret.strip() in MASK
    for line in secret.split(b"\n"):
        if len(line.strip()) >= MIN_LENGTH and len({*line.strip()}) >= 4:
            assert line.strip() not in shown.replace(before, b"").replace(after, b"")


@pytest.mark.parametrize(
    "secret", [bytes(5) + b"\r\0", b"abc\rdef", b"a\r\nb\rcdefg", b"ab\r\r  cd12", b"pa\rss\rwo\rrd"]
)
def test_a_carriage_return_is_a_line_break(secret):
    for shown in (secret, secret.replace(b"\r", b"\n"), b"x " + secret + b" y"):
        assert secret not in masked([secret], [shown])
        assert MASK in masked([secret], [shown])


@given(
    secret=st.binary(min_size=12, max_size=300).filter(lambda value: len(value.strip()) >= 12),
    prefix=st.binary(max_size=9),
    suffix=st.binary(max_size=9),
    columns=st.sampled_from([0, 60, 64, 76, 77]),
    cuts=st.lists(st.integers(0, 10000), max_size=8),
    urlsafe=st.booleans(),
)
def test_nor_in_base64_at_any_alignment_and_width(secret, prefix, suffix, columns, cuts, urlsafe):
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    text = encode(prefix + secret + suffix)
    if columns:
        text = b"".join(text[at : at + columns] + b"\n" for at in range(0, len(text), columns))
    shown = masked([secret], pieces(text, cuts)).replace(b"\n", b"")
    inner = encode(prefix + secret + suffix)
    # what is left is what the neighbours decide too, and, where a line ends after less than 8 characters, those
    start = len(prefix) * 8 // 6 + 2
    stop = (len(prefix) + len(secret)) * 8 // 6 - 2
    assert inner[start + 8 : stop] not in shown if stop - start > 16 else True
    assert len(shown) <= len(encode(prefix + suffix)) + 24


@given(secret=SECRETS, text=TEXTS, cuts=st.lists(st.integers(0, 10000), max_size=8))
def test_text_without_secrets_comes_out_unchanged_whole_lines_at_once(secret, text, cuts):
    forms = SecretForms([secret])
    if forms.are_in(text):
        return
    masker, given_, shown = Masker(forms), b"", b""
    for part in pieces(text, cuts):
        given_ += part
        shown += masker.feed(part)
        assert given_.startswith(shown)
        held = given_[len(shown) :]
        assert b"\n" not in held or len(held) >= 8  # the end of a line that is the beginning of an encoding
        assert len(held) <= 4200
    assert shown + masker.finish() == text


@pytest.mark.parametrize("secret", [TOKEN, PEM, NPMRC, ACCOUNT])
@pytest.mark.parametrize(
    "write",
    [
        lambda value: value,
        lambda value: value.strip(),
        lambda value: b"x" + base64.b64encode(value) + b"x",
        lambda value: base64.encodebytes(b"user:" + value),
        lambda value: value.hex().encode(),
        lambda value: value.hex().upper().encode(),
        lambda value: json.dumps({"t": value.decode()}).encode(),
        lambda value: repr(value.decode()).encode(),
        lambda value: repr(value).encode(),
        lambda value: urllib.parse.quote(value, safe="").encode(),
        lambda value: urllib.parse.quote_plus(value).encode(),
        lambda value: html.escape(value.decode()).encode(),
        lambda value: shlex.quote(value.decode()).encode(),
        lambda value: value.replace(b"\n", b"\r\n"),
        lambda value: b"\n".join(b"web | " + line for line in value.split(b"\n")),
    ],
)
def test_what_other_programs_make_of_it(secret, write):
    text = write(secret)
    for cut in range(0, len(text), 7):
        shown = masked([secret], [b"before ", text[:cut], text[cut:], b" after\n"])
        assert MASK in shown
        for part in re.findall(rb"[A-Za-z0-9+/=]{12,}", shown):
            assert part not in text


VALUE = "zq<K>&'\"w/Xé $v=%+\\ 73jd''!😀(*)~`#@\t\x1b\x7f,{x}[y]^|;:? -._end"


def escape(pattern, form):
    return lambda value: re.sub(pattern, lambda match: form.format(ord(match[0])), value)


def url(safe):
    return lambda value: urllib.parse.quote(value, safe=safe)


WRITERS = {
    "go": lambda value: escape("[<>&]", r"\u{:04x}")(json.dumps(value, ensure_ascii=False)),
    "ruby": lambda value: escape("[<>&'=]", r"\u{:04x}")(json.dumps(value)),
    "php": lambda value: json.dumps(value).replace("/", "\\/"),
    "dotnet": lambda value: re.sub(
        r"\\u(....)", lambda match: r"\u" + match[1].upper(), escape(r"['+<>&`\x7f]", r"\u{:04X}")(json.dumps(value))
    ),
    "ascii": ascii,
    "python": lambda value: repr(value).replace('"', '\\"'),
    "rust": escape(r"[\x1b\x7f]", r"\u{{{:x}}}"),
    "git": lambda value: "".join(chr(byte) if byte < 128 else f"\\{byte:03o}" for byte in value.encode()),
    "sql": lambda value: value.replace("'", "''"),
    "mysql": lambda value: re.sub(r"(['\"\\])", r"\\\1", value),
    "csv": lambda value: value.replace('"', '""'),
    "make": lambda value: value.replace("$", "$$"),
    "printf": lambda value: value.replace("%", "%%"),
    "encodeURI": url(";,/?:@&=+$-_.!~*'()#"),
    "encodeURIComponent": url("-_.!~*'()"),
    "password in a URL": url("!$%&'()*+,-._~"),
    "path of a URL": url("$&+=:@~-_."),
    "form": lambda value: urllib.parse.quote_plus(value).replace("~", "%7E"),
    "url in small letters": lambda value: re.sub("%..", lambda match: match[0].lower(), url("/")(value)),
    "xml text": lambda value: html.escape(value, quote=False),
    "go html": lambda value: html.escape(value).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
    "html in ASCII": lambda value: html.escape(value).encode("ascii", "xmlcharrefreplace").decode(),
    "php html": lambda value: html.escape(value).replace("&#x27;", "&#039;"),
    "bash %q": lambda value: re.sub(r"([^\w@%+=:,./-])", r"\\\1", value),
    "bash $'...'": lambda value: re.sub(r"(['\\])", r"\\\1", value).replace("\t", r"\t").replace("\x1b", r"\E"),
    "bash set -x": lambda value: value.replace("'", "'\\''"),
    "dash set -x": lambda value: re.sub("'+", lambda match: f"'\"{match[0]}\"'", value),
    "shlex": shlex.quote,
    "perl quotemeta": lambda value: re.sub(rb"(\W)", rb"\\\1", value.encode()).decode("utf-8", "surrogateescape"),
    "yaml": escape("[^\0-\x7f]", r"\U{:08X}"),
    "cat -v": lambda value: escape(r"[\x1b\t]", "^{:c}")(value).replace("^\x1b", "^[").replace("^\t", "^I"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_quotes_of_other_languages(writer):
    """The value has a character of each sort that one of them escapes."""
    text = WRITERS[writer](VALUE)
    assert text[:2] == VALUE[:2] or text[1:3] == VALUE[:2]
    text = text.strip("'\"")
    whole = b"before " + text.encode("utf-8", "surrogateescape") + b" after"
    for cut in range(len(whole)):
        assert masked([VALUE.encode()], [whole[:cut], whole[cut:]]) == b"before *** after"


@pytest.mark.parametrize("shell", ["dash", "busybox sh", "bash"])
@pytest.mark.parametrize(
    "command", ['echo "$X"', 'echo -e "$X"', 'printf "$X"', 'printf %b "$X"', 'printf %s "$X"', 'set -x; : "$X"']
)
@pytest.mark.parametrize(
    "value",
    [
        "first\\blast-one",
        "C:\\new\\table\\very",
        "hidden-one\\cnever-seen",
        "one\\\\two-three",
        "a-b-c\\0101d-e-f",
        "in the\\nsecond line",
    ],
)
def test_what_shells_make_of_backslashes(shell, command, value):
    """`echo "$TOKEN"` of /bin/sh reads escapes in it."""
    import shutil
    import subprocess

    if shutil.which(shell.split()[0]) is None:
        pytest.skip(f"no {shell}")
    done = subprocess.run(
        [*shell.split(), "-c", command],
        env={"X": value, "LC_ALL": "C"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
    )
    left = masked([value.encode()], [done.stdout]).replace(MASK, b"")
    assert len(left.strip(b"\n")) < 6 + 5 * ("-e" in command or "-x" in command), (done.stdout, left)


CONTROLS = ["\x1b[0m", "\x1b[38;5;9m", "\x1b[K", "\x1b]8;;http://h/\x1b\\", "\x1b]0;x\x07", "\x1b(B", "\x07", "\x9b1m"]


@pytest.mark.parametrize("control", [*CONTROLS, "\x1b[1m\x1b[31m"])
@pytest.mark.parametrize("write", [lambda value: value, base64.b64encode, json_bytes])
def test_colours_in_a_secret(control, write):
    """Terminals and reports leave them out, and would show the secret."""
    form = write(TOKEN)
    whole = b"a " + form[:5] + control.encode() + form[5:9] + control.encode() + form[9:] + b" b\n"
    for cut in range(len(whole)):
        shown = masked([TOKEN], [whole[:cut], whole[cut:]])
        assert sanitize(shown.decode()) == "a *** b\n"


@pytest.mark.parametrize("control", [*CONTROLS, "\x1b", "\x1b]", "\x1b[", "\x08", "\x1bP0;", "\x1b]52;c;"])
def test_a_secret_in_a_control_sequence(control):
    whole = b"a" + control.encode() + TOKEN + b"\x07 b\n"
    for cut in range(len(whole)):
        assert TOKEN[:9] not in masked([TOKEN], [whole[:cut], whole[cut:]])


def test_output_with_colours_is_not_held_back():
    masker = Masker(SecretForms([TOKEN]))
    for line in (b"\x1b[31mred\x1b[0m\n", b"gh\x1b[1m\n", b"\x1b]0;title\x07x\n"):
        assert masker.feed(line) == line
    assert masker.feed(b"ghp_" + b"\x1b[0m" * 2000).endswith(b"\x1b[0m")


def test_a_thousand_lines_that_begin_alike_are_masked_in_time():
    import time

    secret = json.dumps([f'p@ss "w" <{number}> é' for number in range(1000)]).encode()
    began = time.thread_time()
    assert masked([secret], [secret]) == MASK
    assert time.thread_time() - began < 30.0  # 2 s


def test_a_token_in_a_file_is_masked_alone():
    forms = SecretForms([NPMRC, ACCOUNT])
    assert forms.mask(b"Bearer npm_A1b2C3d4E5f6G7h8!") == b"Bearer ***!"
    assert forms.mask(b"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n") == b"***\n"
    assert forms.mask(b"always on\n") == b"always on\n"


def test_several_secrets_in_one_line_and_one_within_another():
    forms = SecretForms([b"first-secret", b"first-secret-and-more", b"second-one"])
    assert forms.mask(b"first-secret-and-more first-secret second-one") == b"*** *** ***"
    shown = masked(
        [b"first-secret", b"first-secret-and-more"], [b"first-secret", b"-and-more\n", b"first-secret", b"-no"]
    )
    assert shown == b"***\n***-no"


def test_the_end_of_a_secret_ends_in_its_line():
    assert SecretForms([b"hunter2-hunter2\n"]).mask(b"a hunter2-hunter2\n\nb\n") == b"a ***\n\nb\n"


@pytest.mark.parametrize("value", [b"", b"\n", b"12345", b"  ab \n", b"1234\n5", b"\0\0\0\0\n\0"])
def test_a_short_one_is_not_masked(value):
    assert not is_maskable(value)
    assert not SecretForms([value])
    assert SecretForms([value]).mask(b"12345 ab \n") == b"12345 ab \n"


def test_memory_is_bounded_whatever_the_secret_is():
    secret = random.Random(7).randbytes(64 << 10)
    forms = SecretForms([secret])
    assert max(len(form) for forms_ in forms.by_anchor.values() for form, _ in forms_) < 128
    masker, held = Masker(forms), 0
    text = base64.encodebytes(b"u:" + secret)
    for at in range(0, len(text), 500):
        masker.feed(text[at : at + 500])
        held = max(held, len(masker._buffer))
    assert held < 300
    masker = Masker(forms)
    for _ in range(100):
        masker.feed(base64.b64encode(secret[:30]) + b"\n" * 1000)
        assert len(masker._buffer) < 8192


def test_other_output_is_not_slowed_much():
    """A log of 8 MB takes half a second with 20 secrets; here it may take ten times that."""
    import time

    log = b"".join(b"%d: compiling src/module_%d.c, as it says in every log\n" % (at, at) for at in range(140_000))
    forms = SecretForms([os.urandom(24).hex().encode() for _ in range(20)])
    began = time.thread_time()
    assert forms.mask(log) == log
    assert time.thread_time() - began < 5.0
