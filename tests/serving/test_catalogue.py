"""The catalogue finds personas by all their names, and takes only new ones that can be named."""

import pytest

from jaxpersona.core.errors import InputError
from jaxpersona.serving.catalogue import Catalogue, Entry
from jaxpersona.serving.errors import ApiError


@pytest.fixture
def catalogue():
    return Catalogue("base", [Entry("seek", "runs/x/masks/seek", ("x/seek",)), Entry("reject", "runs/x/masks/reject")])


def test_personas_have_ids_aliases_and_the_base_before_them(catalogue):
    assert {catalogue.persona(name) for name in ("seek", "x/seek", "base:seek", "base: x/seek")} == {"seek"}
    assert catalogue.is_base("base") and catalogue.is_base("none") and not catalogue.is_base("seek")


def test_the_listing_has_parent_and_root(catalogue):
    listing = [(entry["id"], entry["parent"], entry["root"]) for entry in catalogue.listing()]
    assert listing == [
        ("base", None, "base"),
        ("seek", "base", "runs/x/masks/seek"),
        ("reject", "base", "runs/x/masks/reject"),
    ]
    assert catalogue.described("x/seek")["id"] == "seek" and catalogue.described("none")["id"] == "base"


def test_unknown_names_are_404_and_name_those_there_are(catalogue):
    with pytest.raises(ApiError, match=r"model 'sek' is unknown; did you mean 'seek'\? Models: base, seek, reject") as refused:
        catalogue.persona("sek")
    assert (refused.value.status, refused.value.param, refused.value.code) == (404, "model", "model_not_found")


def test_personas_come_and_go(catalogue):
    catalogue.check_new("kind/of-new_1.5")
    catalogue.add(Entry("new", "masks/new"))
    assert catalogue.remove("base:new").root == "masks/new"
    with pytest.raises(ApiError):
        catalogue.remove("new")
    with pytest.raises(ApiError, match="'none' is the base model; name a persona: seek, reject"):
        catalogue.remove("none")


@pytest.mark.parametrize("name", ["base", "none", "seek", "x/seek"])
def test_taken_names_are_refused(catalogue, name):
    with pytest.raises(InputError, match=f"there is a model '{name}' already; give another name, or remove it first"):
        catalogue.check_new(name)


@pytest.mark.parametrize("name", ["", "0.5*seek", "a+b", "a b", "../x", "a" * 81])
def test_names_that_could_be_mixtures_or_paths_are_refused(catalogue, name):
    with pytest.raises(InputError, match=r"is none for a persona; use up to 80 letters, digits, \., - and _"):
        catalogue.check_new(name)
