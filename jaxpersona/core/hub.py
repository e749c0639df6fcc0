"""The Hugging Face hub: downloads of repositories, and its errors in one line."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from jaxpersona.core.errors import InputError

_NO_TOKEN = "the hub's token (HF_TOKEN, or that of `hf auth login`) has a character that no token has; set it anew"


def snapshot(repository: str, kind: str, revision: str | None = None, ignore: Sequence[str] = ()) -> pathlib.Path:
    """Returns the folder of a repository's files, from the hub, or from its local cache if the hub is unreachable.

    Args:
      repository: ``OWNER/NAME``.
      kind: what it holds, for messages, such as "model".
      revision: branch, tag or commit; default: the main branch.
      ignore: patterns of files to leave out.

    Raises:
      InputError: if there is no such repository or revision, or it is gated, or unreachable and not cached.
    """
    with _explained(repository, kind, revision):
        return pathlib.Path(huggingface_hub.snapshot_download(repository, revision=revision, ignore_patterns=list(ignore)))


def check_repository(repository: str) -> None:
    """Checks that a repository is named ``OWNER/NAME``, as the hub wants it.

    Raises:
      InputError: if it is not.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise InputError(f"repository {repository!r}: {_line(error)}") from None
    if "/" not in repository:
        raise InputError(f"repository {repository!r} has no owner; give OWNER/NAME")


def upload(contents: Mapping[str, pathlib.Path | bytes], repository: str, private: bool, message: str) -> str:
    """Uploads files to a repository in one commit; returns its address. The repository is created if needed.

    The token is the one that ``hf auth login`` stored, or that of the environment variable ``HF_TOKEN``.

    Args:
      contents: files, or their bytes, by path in the repository.
      repository: ``OWNER/NAME``.
      private: whether a new repository is private.
      message: of the commit.

    Raises:
      InputError: if the repository's name is invalid, or the hub refuses or cannot be reached.
    """
    check_repository(repository)
    operations = [huggingface_hub.CommitOperationAdd(path, file) for path, file in contents.items()]
    try:
        hub = huggingface_hub.HfApi()
        address = hub.create_repo(repository, private=private, exist_ok=True)
        hub.create_commit(repository, operations, commit_message=message)
    except UnicodeEncodeError:
        raise InputError(_NO_TOKEN) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        hint = "; run `hf auth login` with a token that may write there" if status in (401, 403) else ""
        raise InputError(f"the hub refuses the upload to {repository} (status {status}){hint}") from None
    except (HTTPError, OSError) as error:
        raise InputError(f"{repository}: the hub is unreachable ({_line(error)}); run again when online") from None
    return str(address)


@contextmanager
def _explained(repository: str, kind: str, revision: str | None) -> Iterator[None]:
    try:
        yield
    except GatedRepoError:
        raise InputError(f"{kind} {repository} is gated: accept its licence on its hub page, then run `hf auth login`") from None
    except RevisionNotFoundError:
        raise InputError(f"{kind} {repository} has no revision {revision!r} on the hub; check it") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise InputError(f"the hub has no {kind} {repository}, or it is private; check its name or run `hf auth login`") from None
    except UnicodeEncodeError:
        raise InputError(_NO_TOKEN) from None
    except (LocalEntryNotFoundError, HTTPError, OSError) as error:
        raise InputError(
            f"{kind} {repository}: the hub is unreachable and no copy is cached ({_line(error)}); give a folder"
        ) from None


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
