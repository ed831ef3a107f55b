"""What a network policy allows, the addresses that stand for names, and what a pod's resolver answers by them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.container.address_book import MASK, NETWORK, AddressBook
from envtool.container.dns import DnsResolver
from envtool.container.network_policy import MAX_RULES, NetworkPolicy, format_destination, is_host_name
from envtool.container.service_table import ServiceTable
from tests.unit.container.test_dns import query, read

RULES = (
    "pypi.example:443",
    "*.Example.org:443",
    "*.example.org:8443",
    "db.example.org.:5432",
    "192.0.2.7:5432",
    "127.0.0.1:8080",
    "[2001:DB8::7]:443",
    "[::1]:9000",
    "localhost:1",
)
POLICY = NetworkPolicy(RULES)


@pytest.mark.parametrize(
    ("host", "port", "allowed"),
    [
        ("pypi.example", 443, True),
        ("pypi.example", 80, False),
        ("files.pypi.example", 443, False),
        ("xpypi.example", 443, False),
        ("a.example.org", 443, True),
        ("a.b.example.org", 8443, True),
        ("example.org", 443, False),  # a suffix does not match itself
        ("badexample.org", 443, False),
        ("a.example.org.evil.example", 443, False),
        ("db.example.org", 5432, True),
        ("db.example.org", 443, True),  # by the suffix
        ("192.0.2.7", 5432, True),
        ("192.0.2.7", 443, False),
        ("192.0.2.8", 5432, False),
        ("127.0.0.1", 8080, True),
        ("localhost", 1, True),
        ("*.example.org", 443, False),
        ("", 443, False),
    ],
)
def test_what_is_allowed(host, port, allowed):
    assert POLICY.allows(host, port) == allowed


def test_what_a_policy_is_made_of():
    assert POLICY.addresses == ("192.0.2.7",)
    assert POLICY.loopback == (("127.0.0.1", 8080),)
    assert [name for name in ("pypi.example", "a.example.org", "example.org", "x", "a b.example.org") if POLICY.has_name(name)] == ["pypi.example", "a.example.org"]  # fmt: skip
    assert POLICY
    assert not NetworkPolicy()
    assert NetworkPolicy(learn=True)


@pytest.mark.parametrize(
    ("address", "port", "allowed"),
    [
        ("203.0.113.5", 443, True),
        ("10.1.2.3", 443, True),  # a company's own
        ("fd12::1", 443, True),
        ("127.0.0.1", 443, False),
        ("127.0.0.1", 8080, True),  # a rule names it
        ("127.0.0.2", 8080, False),
        ("::1", 443, False),
        ("::1", 9000, True),
        ("::ffff:127.0.0.1", 443, False),
        ("::ffff:127.0.0.1", 8080, True),
        ("64:ff9b::7f00:1", 443, False),
        ("2002:7f00:1::1", 443, False),
        ("0.0.0.0", 443, False),
        ("::", 443, False),
        ("169.254.169.254", 80, False),
        ("fe80::1%eth0", 443, False),
        ("fd00:ec2::254", 80, False),
        ("224.0.0.1", 80, False),
        ("255.255.255.255", 80, False),
        ("ff02::1", 80, False),
    ],
)
def test_addresses_of_this_machine_and_its_link_are_guarded(address, port, allowed):
    assert POLICY.allows_address(address, port) == allowed
    if address not in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert NetworkPolicy(learn=True).allows_address(address, port) == allowed


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("pypi.example", "has no port"),
        (":443", "has no port"),
        ("", "has no port"),
        ("pypi.example:", "number from 1 to 65535"),
        ("pypi.example:https", "number from 1 to 65535"),
        ("pypi.example:0", "number from 1 to 65535"),
        ("pypi.example:65536", "number from 1 to 65535"),
        ("pypi.example:٤٤٣", "number from 1 to 65535"),
        ("https://pypi.example:443", "no scheme"),
        ("2001:db8::7:443", "brackets"),
        ("*:443", "`*` stands only before a suffix"),
        ("a.*.example:443", "`*` stands only before a suffix"),
        ("*example.org:443", "`*` stands only before a suffix"),
        ("*.:443", "`*` stands only before a suffix"),
        ("münchen.example:443", "xn--"),
        ("a b.example:443", "not the name of a host"),
        ("192.0.2:443", "not the name of a host"),
        ("300.0.2.1:443", "not the name of a host"),
        (f"{'a' * 64}.example:443", "not the name of a host"),
        ("10.64.0.1:443", "own networks"),
        ("198.19.0.1:443", "own networks"),
        ("0.0.0.0:443", "not the address of a host"),
        ("[ff02::1]:443", "not the address of a host"),
    ],
)
def test_what_is_no_rule(rule, text):
    with pytest.raises(ValueError, match=text) as caught:
        NetworkPolicy(["pypi.example:443", rule])
    assert f"`{rule}`" in str(caught.value)


def test_rules_are_bounded():
    NetworkPolicy(f"n{number}.example:443" for number in range(MAX_RULES))
    with pytest.raises(ValueError, match="1024 rules at most, not 1025"):
        NetworkPolicy(f"n{number}.example:443" for number in range(MAX_RULES + 1))


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(1, 65535))
def test_an_address_is_allowed_as_it_is_written(address, port):
    rule = format_destination(str(address), port)
    try:
        policy = NetworkPolicy([rule])
    except ValueError as error:
        if "own networks" not in str(error) and "not the address" not in str(error):
            raise
        return
    assert policy.allows(str(address), port)
    assert policy.allows_address(str(address), port)
    assert not policy.allows(str(address), port % 65535 + 1)


@given(st.text(max_size=300))
def test_any_text_is_a_rule_or_a_sentence(text):
    try:
        NetworkPolicy([text])
    except ValueError as error:
        if "`" not in str(error):
            raise


@given(st.text(alphabet="abz019-_.*\\\n\0 ", max_size=260))
def test_a_name_of_a_host_is_safe_to_send(text):
    if is_host_name(text):
        assert set(text) <= set("abz019-_.")
        assert len(text) <= 253
        with pytest.raises(ValueError):
            ipaddress.ip_address(text)


def test_an_address_stands_for_one_name_for_ever():
    book = AddressBook()
    addresses = [book.address_of(f"n{number}.example") for number in range(5000)]
    assert len(set(addresses[:4096])) == 4096
    assert set(addresses[4096:]) == {""}
    assert addresses[0] == "198.18.0.1"
    assert all(int(ipaddress.ip_address(address)) & MASK == NETWORK for address in addresses[:4096])
    assert [book.name_of(address) for address in addresses[:4096]] == [f"n{number}.example" for number in range(4096)]
    assert book.address_of("n7.example") == addresses[7]
    assert book.name_of("198.19.0.1") == book.name_of("") == ""


def resolver(policy: NetworkPolicy, book: AddressBook) -> DnsResolver:
    table = ServiceTable()
    table.add("api-1", "api", "10.64.0.2")
    table.set_ready("api-1", ready=True)
    return DnsResolver(table, lambda name: book.address_of(name) if policy.has_name(name) else None)


def test_allowed_names_have_an_address_and_others_do_not_exist():
    names = resolver(NetworkPolicy(["pypi.example:443", "*.example.org:443", "api:443"]), AddressBook())
    assert read(names.answer(query("PyPI.example"))) == (0, ["198.18.0.1"])
    assert read(names.answer(query("a.example.org"))) == (0, ["198.18.0.2"])
    assert read(names.answer(query("pypi.example"))) == (0, ["198.18.0.1"])
    assert read(names.answer(query("pypi.example", kind=28))) == (0, [])
    assert read(names.answer(query("example.org"))) == (3, [])
    assert read(names.answer(query("api"))) == (0, ["10.64.0.2"])  # a service comes first
    assert names.unknown == {"example.org": 1}


def test_a_pod_that_learns_has_every_name_of_a_host():
    names = resolver(NetworkPolicy(learn=True), AddressBook())
    assert read(names.answer(query("x"))) == (0, ["198.18.0.1"])
    assert read(names.answer(query("1.0.0.10.in-addr.arpa"))) == (3, [])
    assert read(names.answer(query("10.0.0.1"))) == (3, [])


def test_too_many_names_are_a_failure_that_may_pass():
    book = AddressBook()
    names = resolver(NetworkPolicy(learn=True), book)
    for number in range(4096):
        book.address_of(f"n{number}")
    assert read(names.answer(query("one-more"))) == (2, [])
    assert names.unknown == {"one-more": 1}
    assert read(names.answer(query("n5"))) == (0, ["198.18.0.6"])
