"""Where the engine's masked weights come from: folded copies of the parameters, or one copy and a bank of packed masks.

Why there are two, and which is taken when, is measured in docs/engine.md.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.core.errors import InputError, nearest
from jaxpersona.core.tree import Params
from jaxpersona.inference.mask_bank import full_bank, put
from jaxpersona.inference.slots import Places
from jaxpersona.masks.masks import Masks, apply_mask, mix
from jaxpersona.models.decoder import Personas
from jaxpersona.models.persona import Persona
from jaxpersona.models.sites import HEAD

Shares = tuple[tuple[str, float], ...]


class Seat(NamedTuple):
    """What a running request holds: a place, and what it was acquired for."""

    place: int
    shares: Shares
    gamma: float


class Pass(NamedTuple):
    """One run of the decoder over all rows, of which ``active`` ones count.

    ``masks`` and ``personas`` are None where the parameters are masked already.
    """

    params: Params
    masks: Any
    personas: Personas | None
    active: np.ndarray


def check_shares(personas: Mapping[str, Persona], shares: Shares) -> None:
    """Whether there is such a persona, or such a mixture.

    Raises:
      InputError: for an unknown name, shares outside [0, 1], or a mixture of anything but masks.
    """
    for name, share in shares:
        if name not in personas:
            raise InputError(f"persona {name!r} is unknown; {nearest(name, [*personas, 'none'])}")
        if not 0 <= share <= 1:
            raise InputError(f"the share of persona {name!r} is {share}; it must lie in [0, 1]")
        if (len(shares) > 1 or share != 1) and not isinstance(personas[name], Masks):
            raise InputError(f"persona {name!r} is no mask; only masks can be mixed")


def persona_of(personas: Mapping[str, Persona], shares: Shares) -> Persona:
    """A persona, or a mixture of several, which ``check_shares`` has let pass."""
    if len(shares) == 1 and shares[0][1] == 1:
        return personas[shares[0][0]]
    return mix({masks: share for name, share in shares if isinstance(masks := personas[name], Masks)})


class Folded:
    """Masked copies of the parameters, the most recently used few; the model as it is takes none.

    ``form`` puts parameters into the form that the decoder reads (``forward.in_form``), the model as it is included.
    """

    def __init__(self, params: Params, personas: Mapping[str, Persona], copies: int, form: Callable[[Params], Params]):
        self.params, self.personas, self._form = params, personas, form
        self._places = Places(copies)
        self._copies: list[Params | None] = [None] * copies

    @functools.cached_property
    def _plain(self) -> Params:
        return self._form(self.params)

    def acquire(self, shares: Shares, gamma: float) -> Seat | None:
        """A seat for a request, masking a copy of the parameters if there is none; None while all copies are in use."""
        if not shares:
            return Seat(-1, shares, gamma)
        seat = self._places.acquire((shares, gamma))
        if seat is None:
            return None
        place, fresh = seat
        if fresh:
            self._copies[place] = None  # lets go of the old copy before there is a new one
            try:
                self._copies[place] = self._form(apply_mask(self.params, persona_of(self.personas, shares), gamma))
            except BaseException:
                self._places.forget((shares, gamma))
                raise
        return Seat(place, shares, gamma)

    def release(self, seat: Seat) -> None:
        """The request has ended."""
        if seat.shares:
            self._places.release((seat.shares, seat.gamma))

    def nbytes(self) -> int:
        """Bytes of the copies, beyond what they share with the parameters."""
        shared = {id(leaf) for leaf in jax.tree.leaves(self.params)}
        held = [self.__dict__.get("_plain"), *self._copies]
        own = {id(leaf): leaf.nbytes for leaf in jax.tree.leaves(held) if id(leaf) not in shared}
        return sum(own.values())

    def passes(self, seats: Sequence[Seat | None]) -> Iterator[Pass]:
        """A pass for each copy in use; rows of other copies sit it out, so that the shape of a pass never changes."""
        for place in sorted({seat.place for seat in seats if seat}):
            active = np.array([seat is not None and seat.place == place for seat in seats])
            params = self._plain if place < 0 else self._copies[place]
            assert params is not None
            yield Pass(params, None, None, active)


class Packed:
    """One copy of the parameters, stacked or compact, and a bank with the masks of the most recently used personas."""

    def __init__(self, params: Params, personas: Mapping[str, Persona], places: int):
        self.params, self.personas, self._whole = params, personas, places
        self._places = Places(places)
        head = any(HEAD in persona.words for persona in personas.values() if isinstance(persona, Masks))
        self._bank = full_bank(params, places, head)

    def acquire(self, shares: Shares, gamma: float) -> Seat | None:
        """A seat for a request, packing the persona's masks into the bank if need be; None while all places are in use."""
        if not shares:
            return Seat(self._whole, shares, gamma)
        seat = self._places.acquire(shares)
        if seat is None:
            return None
        place, fresh = seat
        if fresh:
            try:
                masks = persona_of(self.personas, shares)
                if not isinstance(masks, Masks):
                    raise InputError(f"persona {shares[0][0]!r} is no mask and cannot be packed; use weights folded")
                self._bank = put(self._bank, place, masks)
            except BaseException:
                self._places.forget(shares)
                raise
        return Seat(place, shares, gamma)

    def release(self, seat: Seat) -> None:
        """The request has ended."""
        if seat.shares:
            self._places.release(seat.shares)

    def nbytes(self) -> int:
        """Bytes of the bank."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self._bank))

    def passes(self, seats: Sequence[Seat | None]) -> Iterator[Pass]:
        """One pass for all rows. Only if one of them is soft, a product with the bare weights is added."""
        active = np.array([seat is not None for seat in seats])
        ids = np.array([seat.place if seat else -1 for seat in seats], np.int32)
        gamma = np.array([seat.gamma if seat else 0.0 for seat in seats], np.float32)
        if active.any():
            yield Pass(self.params, self._bank, Personas(jnp.asarray(ids), jnp.asarray(gamma) if gamma.any() else None), active)
