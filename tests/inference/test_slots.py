"""Slots are shared by the users of a key, and evicted least recently used first, never while in use."""

from hypothesis import given
from hypothesis import strategies as st

from jaxpersona.inference.slots import Places


def test_an_unused_key_keeps_its_place_until_another_needs_it():
    places = Places(2)
    assert places.acquire("a") == (0, True)
    assert places.acquire("a") == (0, False)
    assert places.acquire("b") == (1, True)
    assert places.acquire("c") is None
    places.release("a")
    assert places.acquire("c") is None
    places.release("a")
    places.release("b")
    assert places.acquire("a") == (0, False)
    assert places.acquire("c") == (1, True)
    places.forget("c")
    assert places.acquire("b") == (1, True)


@given(st.integers(1, 3), st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=40))
def test_no_two_keys_in_use_share_a_place(count, operations):
    places, users = Places(count), {}
    for key, entering in operations:
        if entering:
            seat = places.acquire(key)
            in_use = {other for other, (_, number) in users.items() if number}
            assert (seat is None) == (key not in in_use and len(in_use) == count)
            if seat is not None:
                users[key] = (seat[0], users.get(key, (0, 0))[1] + 1)
        elif users.get(key, (0, 0))[1]:
            users[key] = (users[key][0], users[key][1] - 1)
            places.release(key)
        taken = [place for place, number in users.values() if number]
        assert len(set(taken)) == len(taken)
        assert set(taken) <= set(range(count))
